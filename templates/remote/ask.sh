# Says what became of a step whose connection was lost, and waits for it while it still runs.
#
# Its exec's nonce stands in a command line; here it comes in two halves, so that this script does not find itself. What tells
# the scripts of one exec apart follows.
find_owner
[ "$owner_run" = "$p_token" ] || fail lock_lost "the lock is held by ${owner_run:-no run}"
wanted=$p_first$p_second$p_rest
# One character in brackets: so the search does not find its own command line either.
rest=${p_second#?}
pattern=${p_first}[${p_second%"$rest"}]$rest

# running: sets `pids` to the shells that still work on the step.
running() {
    pids=
    # shellcheck disable=SC2013 # numbers have no spaces
    for file in $(grep -l -e "$pattern" /proc/[0-9]*/cmdline 2>/dev/null); do
        pid=${file#/proc/}
        pids="$pids ${pid%%/*}"
    done
    [ -n "$pids" ]
}

# known: the step has left its last word.
known() {
    first_line "$lock/step.$wanted"
    case $line in '' | begun) return 1 ;; esac
}

# finish_off: ends what works on the step.
finish_off() {
    for signal in TERM KILL; do
        running || break
        for pid in $pids; do kill -s "$signal" "$pid" 2>/dev/null; done
        for _ in 1 2 3 4 5 6 7 8 9 10; do
            running || break
            pause
        done
    done
}

# Its word counts, and not that its shell is there yet: that may stand ready for more, on a connection that is gone.
clock
deadline=$((now + p_limit)) begun_by=$((now + 2))
while ! known; do
    clock
    if ! running; then
        # The server may have taken the command, and not have come round to starting it.
        if [ -e "$lock/step.$wanted" ] || [ "$now" -ge "$begun_by" ]; then break; fi
    elif [ "$p_end" = yes ] || { [ ! -e "$lock/step.$wanted" ] && [ "$now" -ge "$begun_by" ]; }; then
        # What waits for input waits for ever: its sender is gone.
        finish_off
        break
    elif [ "$now" -ge "$deadline" ]; then
        fail still_running "it still runs after $p_limit s"
    fi
    pause
done
if [ -e "$lock/step.$wanted" ]; then
    first_line "$lock/step.$wanted"
    say became "${line:-begun}"
else
    say became never
fi
finish
