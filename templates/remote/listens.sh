# Who listens where the health check asks.

# holders_of PID…: sets `holders` to those of these processes that have one of `$inodes` open.
holders_of() {
    holders=''
    [ $# -gt 0 ] || return 0
    links=
    for pid; do links="$links /proc/$pid/fd"; done
    # The heading of a directory is left out where there is one alone.
    # shellcheck disable=SC2086,SC2010
    listing=$(ls -l $links /dev/null 2>/dev/null | grep -F -e /fd: -e "$inodes")
    at=''
    set -f
    IFS=$nl
    for entry in $listing; do
        case $entry in
        /proc/*/fd:)
            at=${entry#/proc/}
            at=${at%%/*}
            ;;
        *) case " $holders " in *" $at "*) ;; *) holders="$holders $at" ;; esac ;;
        esac
    done
    unset IFS
    set +f
}

# find_intruder PORT: sets `intruder` to what listens on the port of the health check beside the processes of `ids`, and works in
# another release of the stack: it may have answered in their place. Sets `outsider` to the pid of one that works anywhere else,
# where none of them listens there.
find_intruder() {
    intruder='' outsider='' family=''
    hex=$(printf '%04X' "$1")
    inodes=$(cat /proc/net/tcp /proc/net/tcp6 2>/dev/null | while read -r _ here _ how _ _ _ _ _ inode _; do
        case $here.$how in *":$hex.0A") echo "socket:[$inode]" ;; esac
    done)
    [ -n "$inodes" ] || return 0
    for id in $ids; do family="$family ${id%%:*}"; done
    # A shell that waits for the server it has started may hold its sockets.
    above=
    for word in $table; do
        pid=${word%%:*} rest=${word#*:}
        case "$masters " in *" $pid "*) above="$above ${rest%%:*}" ;; esac
    done
    # Few work in a release: only they are looked at.
    # shellcheck disable=SC2010
    working=$(ls -ln /proc/[0-9]*/cwd 2>/dev/null | grep -F -e "-> $real/releases/" | sed 's|.*/proc/\([0-9]*\)/cwd -> .*|\1|')
    others=
    for pid in $working; do
        case "$family$above " in *" $pid "*) ;; *) others="$others $pid" ;; esac
    done
    # shellcheck disable=SC2086
    holders_of $others
    # shellcheck disable=SC2086
    locate $holders
    for word in $places; do
        pid=${word%%:*}
        [ "${word#*:}" != "$wanted_release" ] || continue
        first_line "/proc/$pid/comm"
        intruder="process $pid ($line) listens on port $1, too, and works in release ${word#*:}"
        return 0
    done
    # shellcheck disable=SC2086
    holders_of $family
    [ -z "$holders" ] || return 0
    working=
    for dir in /proc/[0-9]*; do working="$working ${dir#/proc/}"; done
    # shellcheck disable=SC2086
    holders_of $working
    outsider=${holders##* }
}
