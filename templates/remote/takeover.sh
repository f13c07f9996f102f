# Makes the lock that a dead run left this run's own, with its journal, and ends what that run's commands left running.
if [ ! -d "$lock" ]; then
    say lock free
    finish
fi
find_owner
if [ "$owner_run" != "$p_token" ]; then
    [ "$owner_run" = "$p_from" ] || fail locked_anew "the lock is held by ${owner_run:-an unknown run}"
    error=$(
        claim "$p_from" || exit 1
        status=0
        if put ./owner "$p_owner"; then
            rm -f ./stuck ./phase
        else
            printf '%s' "$error"
            status=2
        fi
        rm -f ./claim
        exit "$status"
    )
    case $? in
    0) ;;
    2) refuse not_writable "$error" ;;
    *) fail locked_anew "another run is taking the lock over, or died over it within the last minute" ;;
    esac
    find_owner
    [ "$owner_run" = "$p_token" ] || fail locked_anew "the lock is held by ${owner_run:-an unknown run}"
fi
renewing

is_nonce() {
    case $1 in '' | *[!0-9a-f]*) return 1 ;; esac
    [ "${#1}" -ge 8 ]
}

# add_group: one more to end.
add_group() {
    case $groups in *" $group "*) return ;; esac
    [ "$group" = "$mine" ] || [ "$group" -le 1 ] || groups="$groups$group "
}

# Commands that began under the lock and have not said that they ended. sshd makes each the leader of a process group, and of a session:
# `timeout` and others make groups of their own in it. Daemons have sessions of their own, and live on.
stat_of $$
mine=$group groups=' ' sessions=' '
for file in "$lock"/step.*; do
    first_line "$file"
    # One whose word did not get onto a full disk is empty.
    case $line in begun | '') ;; *) continue ;; esac
    nonce_of=${file##*/step.}
    is_nonce "$nonce_of" || continue
    # One of many in an exec has four characters more than the command line.
    own_of=$nonce_of
    [ "${#own_of}" -le 16 ] || own_of=${own_of%????}
    # One character in brackets: the search must not find its own command line.
    rest=${own_of#?}
    # shellcheck disable=SC2013 # these names have no spaces
    for found in $(grep -l -e "[${own_of%"$rest"}]$rest" /proc/[0-9]*/cmdline 2>/dev/null); do
        found=${found#/proc/}
        stat_of "${found%%/*}" || continue
        add_group
        sessions="$sessions$session "
    done
    # Where sshd makes no sessions others live in it too: of theirs only what is marked.
    # shellcheck disable=SC2013
    for found in $(grep -l -e "PITCREW_STEP=$nonce_of" /proc/[0-9]*/environ 2>/dev/null); do
        found=${found#/proc/}
        stat_of "${found%%/*}" || continue
        case $sessions in *" $session "*) add_group ;; esac
    done
done

# tell SIGNAL GROUP: busybox takes no `--`, and dash needs it.
tell() {
    kill -s "$1" -- "-$2" 2>/dev/null || kill -s "$1" "-$2" 2>/dev/null
}

# living: sets `alive` to those that have processes yet.
living() {
    alive=
    for group in $groups; do
        if tell 0 "$group"; then alive="$alive $group"; fi
    done
    [ -n "$alive" ]
}
for signal in TERM KILL; do
    living || break
    for group in $alive; do tell "$signal" "$group"; done
    say ended "$signal"
    tries=0
    while [ "$tries" -lt 25 ] && living; do
        tries=$((tries + 1))
        pause
    done
done
if living; then fail still_running "commands of the run that held the lock cannot be ended, process groups$alive"; fi
say taken over
finish
