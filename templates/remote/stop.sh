# Stops the web server and proves that nothing of it runs: used to take back a first deploy.
holding
if [ "$p_none" = yes ]; then
    finish
fi
[ -r /proc/self/stat ] || fail no_proc "there is no /proc to prove a stop with"
note stop || true
before='' started=''
clock
deadline=$((now + p_limit))
find_untouched
look
if [ -n "${was# }" ] && [ -n "$ids" ]; then
    inside=
    for id in $ids; do
        case $id in *:- | *:hidden) ;; *) inside=yes ;; esac
    done
    if [ -z "$inside" ]; then
        say notice "the web server ran before this run, maybe for others as well: it is left running"
        finish
    fi
fi
before=$ids
status=0
again=$((now + 3))
if [ -n "$ids" ]; then
    web_stop >"$own/start.log" 2>&1
    status=$?
fi
while true; do
    look
    [ -n "$ids$left" ] || break
    clock
    [ "$now" -lt "$deadline" ] || break
    [ "$status" -eq 0 ] || break
    # What was being started when it was told to stop (a pool that spawns on demand) is told again.
    if [ -n "$ids" ] && [ "$now" -ge "$again" ]; then
        web_stop >>"$own/start.log" 2>&1
        again=$((now + 3))
    fi
    pause
done
if [ -n "$ids$left" ]; then
    tail_log
    remaining=
    for id in $ids $left; do
        case " $remaining " in *" ${id%%:*} "*) ;; *) remaining="$remaining ${id%%:*}" ;; esac
    done
    fail still_running "the web server's processes are still there:$remaining"
fi
finish
