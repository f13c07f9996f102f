# Processes: which they are, which descend from which, and which releases they come from. Read from /proc.
# An identity is `pid:start.stack:release`. An exec keeps pid and start time but moves the stack (address space
# randomisation), and a reload in place moves the working directory; either makes it another identity.

wanted_release=''
before=''
traces=''
unseen=''
kept=''

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

# locate PID…: sets `places` to words `pid:release`; `-` is elsewhere, `deleted` a directory that is gone. A process whose
# working directory this login may not read is missing there.
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
        # Some kinds of `ls` list also a link that they may not read.
        "$entry") continue ;;
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

# identities PID…: sets `found` to their identities; the release of one whose working directory cannot be read is `hidden`.
identities() {
    found=
    locate "$@"
    for word in $table; do
        pid=${word%%:*}
        case " $* " in *" $pid "*) ;; *) continue ;; esac
        place=hidden
        for at in $places; do
            [ "${at%%:*}" = "$pid" ] && place=${at#*:}
        done
        # A directory that cannot be read this moment makes no new process of one that was there before.
        if [ "$place" = hidden ]; then
            # One that has ended since is gone, not hidden.
            alive "$pid" || continue
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
    # There is nothing to look for.
    [ -n "$masters$before" ] || return 0
    # After the names, so that a process they name is in the table or gone.
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

# named LINE: sets `named` to the releases whose paths a line of text holds, one a line.
named() {
    named=
    for place in "$root" "$real"; do
        rest=$1
        while case $rest in *"$place"/releases/*) true ;; *) false ;; esac do
            rest=${rest#*"$place"/releases/}
            id=${rest%"${rest#??????????????}"}
            is_release "$id" && named=$named$id$nl
        done
        [ "$root" != "$real" ] || break
    done
}

# trace PID…: sets `traces` to what these processes have of other releases than the wanted one, as text: in their command
# line, executable, environment, mapped files and files open for reading; and `unseen` to the pids that this login may not
# read. A working directory is no trace: `locate` tells it. Variables that only remember a place decide nothing.
# `trace_texts=yes` limits it to what an exec hands on.
trace_texts=''
trace() {
    traces='' unseen=''
    texts='' maps='' links=''
    for pid; do
        texts="$texts /proc/$pid/cmdline"
        if { IFS= read -r line <"/proc/$pid/maps"; } 2>/dev/null; then
            texts="$texts /proc/$pid/environ" maps="$maps /proc/$pid/maps" links="$links /proc/$pid/exe /proc/$pid/fd"
        elif alive "$pid"; then
            unseen="$unseen $pid"
        fi
    done
    [ -n "$texts" ] || return 0
    [ -z "$trace_texts" ] || maps='' links=''
    # shellcheck disable=SC2086,SC2010
    listing=$(
        tail -c +1 $texts /dev/null 2>/dev/null | tr '\000' '\n' |
            grep -F -e '==> /proc/' -e "$root/releases/" -e "$real/releases/"
        [ -z "$links" ] || ls -ln $links 2>/dev/null | grep -F -e /fd: -e "$root/releases/" -e "$real/releases/"
        [ -z "$maps" ] || grep -F -e "$root/releases/" -e "$real/releases/" $maps /dev/null 2>/dev/null
    )
    at='' pid=''
    set -f
    IFS=$nl
    for entry in $listing; do
        case $entry in
        '==> /proc/'*' <==')
            entry=${entry#"==> /proc/"}
            at=${entry%" <=="} pid=${entry%%/*}
            at=${at#*/}
            continue
            ;;
        /proc/*/fd:)
            pid=${entry#/proc/}
            at=fd pid=${pid%%/*}
            continue
            ;;
        /proc/*/maps:*)
            pid=${entry#/proc/}
            pid=${pid%%/*} what="a mapped file"
            ;;
        *" /proc/"*"/exe -> "*)
            pid=${entry#*" /proc/"}
            pid=${pid%%/*} what="its executable"
            ;;
        *)
            case $at in
            environ)
                what=${entry%%=*}
                case $what in
                PWD | OLDPWD | _ | INIT_CWD | npm_* | BUNDLER_ORIG_* | SUDO_* | SSH_* | PITCREW_*) continue ;;
                RBENV_DIR | PYENV_DIR | NODENV_DIR | DIRENV_*) continue ;;
                esac
                ;;
            cmdline) what="its command line" ;;
            # What is open for writing is a log or the like.
            *) case $entry in lr-x*) what="an open file" ;; *) continue ;; esac ;;
            esac
            ;;
        esac
        named "$entry"
        for id in $named; do
            [ "$id" != "$wanted_release" ] || continue
            # A few of them are enough to say.
            case $traces in *" $pid ($what in $id)"*) ;; *) [ ${#traces} -gt 300 ] || traces="$traces $pid ($what in $id)" ;; esac
        done
    done
    unset IFS
    set +f
}

# codeless PID: tells whether it is a master that loads no application and only starts workers, which PHP-FPM, Apache and nginx
# have; sets `line` to its name. That anyone may read.
codeless() {
    first_line "/proc/$1/comm"
    case $line in php-fpm* | apache2 | httpd | nginx) return 0 ;; esac
    return 1
}

# reloaded IDENTITY: tells whether an old process is a master that reloaded in place: in the wanted release, with children, every
# one of them new. Where it works may prove nothing: this login may not see that, or it is outside. Then it is a master that
# loads no application, or an answer must name its release; such ones are added to `kept`.
reloaded() {
    parent=${1%%:*}
    case " $masters " in *" $parent "*) ;; *) return 1 ;; esac
    children='' above=''
    for word in $table; do
        case $word in
        "$parent":*) above=${word#*:} ;;
        *":$parent:"*) children="$children ${word%%:*}" ;;
        esac
    done
    for word in $left; do
        case " $children " in *" ${word%%:*} "*) return 1 ;; esac
    done
    case $1 in
    *":$wanted_release") [ -n "$children" ] ;;
    *:hidden | *:-)
        if codeless "$parent"; then
            # Without workers it waits for a request; a worker has none, either.
            [ -n "$children" ] || case " $pids " in *" ${above%%:*} "*) return 1 ;; esac
        else
            # One process that reloads in place has none; the answer proves it.
            [ "${p_named-}" = yes ] || return 1
        fi
        kept="$kept $parent"
        ;;
    *) return 1 ;;
    esac
}

# judge: sets `why` to what is missing for the proof, empty when nothing is; `only_old` when it is just old processes;
# `traces` to what all the right processes still have of another release.
judge() {
    look
    why='' only_old='' fresh='' elsewhere='' remaining='' traces='' unseen='' kept=''
    for id in $ids; do
        case " $before " in *" $id "*) ;; *) fresh="$fresh ${id%%:*}" ;; esac
        case $id in
        *":$wanted_release" | *:- | *:hidden) ;;
        *) elsewhere="$elsewhere ${id%%:*} (${id##*:})" ;;
        esac
    done
    for id in $left; do
        reloaded "$id" || remaining="$remaining ${id%%:*}"
    done
    if [ -z "$ids" ] && [ "${p_lazy-}" != yes ]; then
        why="no process of the web server runs"
        [ -d /proc/1 ] || why="$why that this login may see: /proc shows it nothing of other users (hidepid)"
    elif [ -z "$fresh$kept" ] && [ "${p_lazy-}" != yes ]; then
        why="no new process; still the old ones:$remaining"
    elif [ -n "$remaining" ]; then
        why="old processes are still there:$remaining"
        only_old=yes
    elif [ -n "$elsewhere" ]; then
        why="processes run in another release:$elsewhere"
    else
        # The costly look comes last. It takes pids, which the words of `ids` begin with.
        set --
        for id in $ids; do set -- "$@" "${id%%:*}"; done
        trace "$@"
        [ -z "$traces" ] || why="processes come from another release:$traces"
    fi
}

# led_astray: tells whether every new process works in another release.
led_astray() {
    [ -n "$elsewhere" ] && [ -n "$fresh" ] || return 1
    for pid in $fresh; do
        case $elsewhere in *" $pid ("*) ;; *) return 1 ;; esac
    done
}

# find_untouched: sets `was` to the processes that an earlier restart of this run found before it acted, `went` to the
# release that it was for, and `untouched` to yes when a look has since found them all as they were.
find_untouched() {
    was='' went='' untouched=''
    { read -r was && read -r went && read -r untouched; } 2>/dev/null <"$lock/before"
    true
}

# as_found: tells whether the processes are exactly those of `$was`, and none of them has moved away from the wanted
# release. Of one that this login may not read, or that works elsewhere, only a restart that was denied tells that it did not
# reload in place.
as_found() {
    [ -n "$was" ] && [ "$was" = "${ids# }" ] || return 1
    for id in $ids; do
        case $id in
        *":$wanted_release") ;;
        *:hidden | *:-) [ -e "$lock/denied" ] || return 1 ;;
        *) return 1 ;;
        esac
    done
}

# say_proven: says which processes the proof is about, and what it could not see.
say_proven() {
    for id in $ids; do say process "${id%%:*}" "${id##*:}"; done
    new='' told=''
    for pid in $unseen; do
        case " $kept " in *" $pid "*) ;; *) new="$new $pid" ;; esac
    done
    [ -z "$new" ] ||
        told="what these processes run from cannot be seen by this login; only that they are new is proven:$new"
    for pid in $kept; do
        if ! codeless "$pid"; then
            told="${told:+$told; }process $pid has stayed over the reload, and only the answer that names its release proves what it runs"
        elif [ -n "$new" ]; then
            told="$told; process $pid ($line), which loads no application itself, has stayed"
        elif [ -z "$fresh" ]; then
            told="process $pid ($line) has stayed, which loads no application itself; its first worker comes with the next request"
        fi
    done
    [ -z "$told" ] || say notice "$told"
    # shellcheck disable=SC2086
    set -- $ids
    say proven $#
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
