# Judges again, after the health check, what the restart proved: what was new then must have stayed.
find_owner
# What another run has taken over is not this run's to prove: it would put the server back into its balancer next.
[ "${p_held-}" != yes ] || [ -z "$owner_run" ] || [ "$owner_run" = "$p_token" ] ||
    fail lock_lost "the lock is held by $owner_run"
find_current
[ "$now_id" = "$p_id" ] || fail current_changed "current is ${now_id:-${odd:-none}}, expected $p_id"
if [ "$p_none" = yes ]; then
    say proven 0
    finish
fi
[ -r /proc/self/stat ] || fail no_proc "there is no /proc to prove a restart with"
wanted_release=$p_id
before='' proven='' was='' untouched=''
if [ "$owner_run" = "$p_token" ]; then
    find_untouched
    before=${was:+ $was}
    first_line "$lock/masters"
    proven=$line
fi
if [ "$untouched" = yes ]; then
    # What the run found, and did not touch, is as good as it was.
    before='' proven=''
    look
    if as_found; then
        say_proven
        finish
    fi
fi
judge
if [ -z "$why$ids" ] && [ "$p_answered" = yes ]; then
    why="a request was answered, but no process of the application is found where [web] says that it runs"
fi
if [ -z "$why" ] && [ -n "$proven" ] && [ "$p_answered" = not-yet ]; then
    # While nothing answers, it is looked at again and again: against what the look before has found.
    first_line "$lock/glanced"
    became=${line:-$proven}
    put "$lock/glanced" "$masters" || true
    # Workers may come and go while an application boots; of one that died, nothing is left.
    why="nothing answers, and the server keeps restarting by itself since it was proven: process$became became$masters"
    for pid in $became; do
        case "$masters " in *" $pid "*) why='' ;; esac
    done
elif [ -z "$why" ] && [ -n "$proven" ] && [ "$p_lazy" != yes ] && [ "$masters" != "$proven" ]; then
    # A second look: a reload that took one turn more is no failure, a server that keeps restarting is.
    became=$masters
    sleep 1
    judge
    if [ -z "$why" ] && [ "$masters" != "$became" ]; then
        why="the server keeps restarting by itself since it was proven: process$proven became$became, then$masters"
    fi
fi
if [ -z "$why" ] && [ "$p_answered" = yes ] && [ -n "${p_port-}" ]; then
    find_intruder "$p_port"
    if [ -n "$intruder" ]; then
        why="$intruder: it may have answered the health check; end it (kill $pid), and deploy again"
    elif [ -n "$outsider" ]; then
        first_line "/proc/$outsider/comm"
        case $line in
        # What passes requests on.
        nginx | apache2 | httpd | haproxy | caddy | envoy | traefik | varnishd | lighttpd | h2o | systemd | docker-proxy | conmon) ;;
        *) say notice "process $outsider ($line) listens on port $p_port, where the health check asks, and is none of the web server's" ;;
        esac
    fi
fi
if [ -n "$why" ]; then
    tail_log
    fail not_proven "$why"
fi
if [ "$owner_run" = "$p_token" ] && [ "$p_answered" != not-yet ]; then note proven "$p_id" || true; fi
say_proven
finish
