# Runs one command of the configuration. Its output passes through and its exit status is this script's.
case $p_dir in
'') dir=$current ;;
/) dir=$root ;;
*) dir=$root/releases/$p_dir ;;
esac
[ -d "$dir" ] || fail no_release "$dir does not exist"

# stat_of PID: sets `state`, `group` and `session`. The name before them may hold spaces and parentheses.
stat_of() {
    { IFS= read -r line <"/proc/$1/stat"; } 2>/dev/null || return 1
    # shellcheck disable=SC2086
    set -- ${line##*) }
    [ $# -ge 4 ] || return 1
    state=$1 group=$3 session=$4
}

# look_for_others: sets `others` to words `pid:group`, one for each other process of the command that lives in this session.
# A daemon has made a session of its own.
look_for_others() {
    others='' marked=''
    # Where sshd has not made a session for this command, others live in it too.
    [ -n "$led" ] || marked=" $(grep -l -e "PITCREW_STEP=$nonce" /proc/[0-9]*/environ 2>/dev/null | tr '\n' ' ')"
    for file in /proc/[0-9]*/stat; do
        pid=${file#/proc/}
        pid=${pid%/stat}
        case $pid in "$$" | "$mine") continue ;; esac
        stat_of "$pid" || continue
        [ "$session" = "$mine" ] || continue
        case $state in Z | X | x) continue ;; esac
        case $led$marked in yes | *" /proc/$pid/environ "*) ;; *) continue ;; esac
        # What belongs to another user cannot be told.
        kill -s 0 "$pid" 2>/dev/null && others="$others $pid:$group"
    done
}

# told_to_end: ends what a signal to this process group has not reached: `timeout` and others make groups of their own.
told_to_end() {
    trap '' HUP INT TERM
    others='' told='' tries=0
    if stat_of $$; then
        mine=$session ours=$group led=
        [ "$mine" != "$ours" ] || led=yes
        look_for_others
    fi
    while [ -n "$others" ] && [ "$tries" -lt 20 ]; do
        for other in $others; do
            pid=${other%:*}
            if [ "$tries" -ge 15 ]; then
                kill -s KILL "$pid" 2>/dev/null
            elif [ "${other#*:}" != "$ours" ]; then
                # Once: a second time some take for impatience.
                case "$told " in *" $pid "*) ;; *) kill -s TERM "$pid" 2>/dev/null ;; esac
                told="$told $pid"
            fi
        done
        tries=$((tries + 1))
        pause
        look_for_others
    done
    # Who recovers looks for the rest.
    [ -n "$others" ] || ended exit 143
    say signal TERM
    say exit 143
    say 'done'
    exit 143
}
if [ -n "$p_token" ]; then
    trap told_to_end HUP INT TERM
    holding
    note command "$p_verb" || true
fi
PITCREW_STEP=$nonce
in_dir() {
    cd "$dir" || exit 71
    export PWD
    if [ -z "$p_token" ]; then
        # An argument cannot be longer than 128 KiB; a shell's variable can.
        [ "${#p_run}" -gt 100000 ] || exec sh -c "$p_run"
        eval "$p_run"
        return
    fi
    export PITCREW_STEP
    # No `exec`: this shell ends at once when its group is told to, and with that the wait of the one that waits for it.
    if [ "${#p_run}" -gt 100000 ]; then eval "$p_run"; else sh -c "$p_run"; fi
    return $?
}
as_user in_dir
status=$?
[ -z "$p_token" ] || trap - HUP INT TERM
ended exit "$status"
# Whatever was printed last may lack its newline: the reader parts it from the answer that follows.
if [ "$status" -gt 128 ] && signal=$(kill -l "$status" 2>/dev/null); then
    # Beyond the last signal some shells print the number.
    case $signal in '' | [0-9]*) ;; *) say signal "${signal#SIG}" ;; esac
fi
say exit "$status"
say 'done'
exit "$status"
