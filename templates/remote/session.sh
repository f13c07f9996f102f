# Ends what lives in the session of a command beside its process group.

# look_for_others: sets `others` to words `pid:group`, one for each other process of the command that lives in this session.
# A daemon has made a session of its own.
look_for_others() {
    others='' marked=''
    # Where sshd has not made a session for this command, others live in it too.
    [ -n "$led" ] || marked=" $(grep -l -e "PITCREW_STEP=$mark" /proc/[0-9]*/environ 2>/dev/null | tr '\n' ' ')"
    # Whatever the name holds, the fields after it are numbers.
    found=$(cat /proc/[0-9]*/stat 2>/dev/null |
        sed -n "s/^\([0-9]*\) (.*) [^ZXx] [0-9]* \([0-9]*\) $mine [0-9 -]*\$/\1:\2/p")
    for other in $found; do
        pid=${other%:*}
        case $pid in "$$" | "$mine") continue ;; esac
        case $led$marked in yes | *" /proc/$pid/environ "*) ;; *) continue ;; esac
        # What belongs to another user cannot be told. What has just looked for them is gone.
        kill -s 0 "$pid" 2>/dev/null && others="$others $other"
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
