# Makes the lock that a dead run left this run's own, with its journal, and ends what that run's commands left running.
if [ ! -d "$lock" ]; then
    say lock free
    finish
fi
find_owner
if [ "$owner_run" != "$p_token" ]; then
    [ "$owner_run" = "$p_from" ] || fail locked_anew "the lock is held by ${owner_run:-an unknown run}"
    # The directory is entered first: whatever becomes of its name, only one of many can rename the owner in it.
    error=$(
        cd "$lock" 2>/dev/null || exit 1
        if [ -e ./owner ]; then mv ./owner "./owner.$p_token" 2>/dev/null || exit 1; fi
        put ./owner "$p_owner" || {
            [ ! -e "./owner.$p_token" ] || mv "./owner.$p_token" ./owner
            printf '%s' "$error"
            exit 2
        }
        rm -f ./stuck ./phase
    )
    case $? in
    0) ;;
    2) refuse not_writable "$error" ;;
    *) fail locked_anew "somebody else took the lock over" ;;
    esac
    find_owner
    [ "$owner_run" = "$p_token" ] || fail locked_anew "the lock is held by ${owner_run:-an unknown run}"
fi
renewing

# working: sets `groups` to the process groups of commands that began under the lock and have not said that they ended.
working() {
    groups=
    for file in "$lock"/step.*; do
        first_line "$file"
        # One whose word did not get onto a full disk is empty.
        case $line in begun | '') ;; *) continue ;; esac
        nonce_of=${file##*/step.}
        is_nonce "$nonce_of" || continue
        # One character in brackets: the search must not find its own command line.
        rest=${nonce_of#?}
        for found in $(grep -l -e "[${nonce_of%"$rest"}]$rest" /proc/[0-9]*/cmdline 2>/dev/null); do
            found=${found#/proc/}
            { IFS= read -r line <"/proc/${found%%/*}/stat"; } 2>/dev/null || continue
            # shellcheck disable=SC2086
            set -- ${line##*) }
            groups="$groups $3"
        done
    done
    [ -n "$groups" ]
}
is_nonce() {
    case $1 in '' | *[!0-9a-f]*) return 1 ;; esac
    [ "${#1}" -ge 8 ]
}
IFS= read -r line </proc/self/stat
# shellcheck disable=SC2086
set -- ${line##*) }
mine=$3
for signal in TERM KILL; do
    tries=0
    while [ "$tries" -lt 25 ] && working; do
        if [ "$tries" = 0 ]; then
            for group in $groups; do
                [ "$group" = "$mine" ] || [ "$group" -le 1 ] || kill -s "$signal" -- "-$group" 2>/dev/null
            done
            say ended "$signal"
        fi
        tries=$((tries + 1))
        pause
    done
done
if working; then fail still_running "commands of the run that held the lock cannot be ended:$groups"; fi
say taken over
finish
