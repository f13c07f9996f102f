# Processes: who they are, whose children, and which release they run in. Read from /proc.
# An identity is `pid:start.stack:release`. An exec keeps pid and start time but moves the stack (address space
# randomisation), and a reload in place moves the working directory; either makes it another identity.

wanted_release=''
before=''

# scan: sets `table` to words `pid:ppid:start.stack`, one for each process that is not a zombie.
scan() {
    stats=$(cat /proc/[0-9]*/stat 2>/dev/null)
    table=
    set -f
    IFS=$nl
    for stat in $stats; do
        # The name in parentheses may hold spaces and parentheses; what follows the last one does not. Looking for that takes
        # dash six times as long as looking for the first.
        pid=${stat%% *}
        unset IFS
        rest=${stat#*) }
        case $rest in *\)*) rest=${stat##*) } ;; esac
        # shellcheck disable=SC2086
        set -- $rest
        [ $# -ge 26 ] || continue
        case $1 in Z | X | x) continue ;; esac
        table="$table $pid:$2:${20}.${26}"
    done
    unset IFS
    set +f
    set --
}

# family PID…: sets `pids` to those of them that live, and all their descendants.
family() {
    wanted=" $* " pids=
    grown=yes
    while [ -n "$grown" ]; do
        grown=
        for word in $table; do
            pid=${word%%:*}
            case " $pids " in *" $pid "*) continue ;; esac
            ppid=${word#*:}
            ppid=${ppid%%:*}
            case $wanted in
            *" $pid "*) ;;
            *) case " $pids " in *" $ppid "*) ;; *) continue ;; esac ;;
            esac
            pids="$pids $pid"
            grown=yes
        done
    done
}

# locate PID…: sets `places` to words `pid:release`; `-` is elsewhere or unreadable, `deleted` a directory that is gone.
locate() {
    places=
    [ $# -gt 0 ] || return 0
    links=
    for pid; do links="$links /proc/$pid/cwd"; done
    # shellcheck disable=SC2086
    listing=$(ls -ln $links 2>/dev/null)
    set -f
    IFS=$nl
    for entry in $listing; do
        where=${entry#*/cwd -> }
        pid=${entry#*/proc/}
        pid=${pid%%/*}
        place=-
        case $where in
        "$entry") ;;
        "$real"/releases/*' (deleted)') place=deleted ;;
        "$real"/releases/*)
            place=${where#"$real"/releases/}
            place=${place%%/*}
            is_release "$place" || place=-
            ;;
        esac
        places="$places$nl$pid:$place"
    done
    unset IFS
    set +f
}

# identities PID…: sets `found` to their identities.
identities() {
    found=
    locate "$@"
    for word in $table; do
        pid=${word%%:*}
        case " $* " in *" $pid "*) ;; *) continue ;; esac
        place=-
        for at in $places; do
            [ "${at%%:*}" = "$pid" ] && place=${at#*:}
        done
        # A directory that cannot be read this moment makes no new process of one that was there before.
        if [ "$place" = - ]; then
            case "$before " in
            *" $pid:${word##*:}:"*)
                place=${before#*" $pid:${word##*:}:"}
                place=${place%% *}
                ;;
            esac
        fi
        found="$found $pid:${word##*:}:$place"
    done
}

# look: sets `masters` (the pids that the web server's template names), `ids` (theirs and their descendants') and
# `left` (those of `$before` that still live).
look() {
    masters='' ids='' left=''
    for pid in $(web_processes 2>/dev/null); do
        case $pid in '' | *[!0-9]*) continue ;; esac
        masters="$masters $pid"
    done
    # Nobody to look for.
    [ -n "$masters$before" ] || return 0
    # After the names, so that whoever they name is in the table or gone.
    scan
    # shellcheck disable=SC2086
    family $masters
    old=
    for word in $before; do old="$old ${word%%:*}"; done
    # shellcheck disable=SC2086
    identities $pids $old
    for word in $found; do
        case " $pids " in *" ${word%%:*} "*) ids="$ids $word" ;; esac
        case " $before " in *" $word "*) left="$left $word" ;; esac
    done
}

# reloaded IDENTITY: tells whether an old process is a master that reloaded in place: in the wanted release, with
# children, every one of them new.
reloaded() {
    case $1 in *":$wanted_release") ;; *) return 1 ;; esac
    parent=${1%%:*}
    case " $masters " in *" $parent "*) ;; *) return 1 ;; esac
    children=
    for word in $table; do
        case $word in *":$parent:"*) children="$children ${word%%:*}" ;; esac
    done
    [ -n "$children" ] || return 1
    for word in $left; do
        case " $children " in *" ${word%%:*} "*) return 1 ;; esac
    done
    return 0
}

# judge: sets `why` to what is missing for the proof, empty when nothing is; `only_old` when it is just old processes.
judge() {
    look
    why='' only_old='' fresh='' elsewhere='' remaining=''
    for id in $ids; do
        case " $before " in *" $id "*) ;; *) fresh="$fresh ${id%%:*}" ;; esac
        case $id in
        *":$wanted_release" | *:-) ;;
        *) elsewhere="$elsewhere ${id%%:*} (${id##*:})" ;;
        esac
    done
    for id in $left; do
        reloaded "$id" || remaining="$remaining ${id%%:*}"
    done
    if [ -z "$ids" ] && [ "${p_lazy-}" != yes ]; then
        why="no process of the web server runs"
    elif [ -z "$fresh" ] && [ "${p_lazy-}" != yes ]; then
        why="no new process; still the old ones:$remaining"
    elif [ -n "$remaining" ]; then
        why="old processes are still there:$remaining"
        only_old=yes
    elif [ -n "$elsewhere" ]; then
        why="processes run in another release:$elsewhere"
    fi
}

# tail_log: prints the end of the web server's log, and of what its start printed, each with a newline at its end: behind a
# long line without one the answer that follows would be cut off.
tail_log() {
    { text=$(web_log 2>&1 | tail -n 30); } 2>/dev/null
    [ -z "$text" ] || printf '%s\n' "$text"
    if [ -s "$own/start.log" ] && [ -n "${started-}" ]; then
        { text=$(tail -n 30 "$own/start.log"); } 2>/dev/null
        [ -z "$text" ] || printf '%s\n' "$text"
    fi
    true
}
