# Restarts the web server, or starts it, and proves that the new release runs.
holding
find_current
[ "$now_id" = "$p_id" ] || fail current_changed "current is ${now_id:-${odd:-none}}, expected $p_id"
if [ "$p_none" = yes ]; then
    say proven 0
    finish
fi
[ -r /proc/self/stat ] || fail no_proc "there is no /proc to prove a restart with"
note restart "$p_id" || true
release_dir=$root/releases/$p_id
wanted_release=$p_id
before='' started=''
look
if [ -n "$masters" ] && [ -z "$ids" ]; then
    # Whoever was named went just then, maybe for one that takes over: a start would find its place taken.
    pause
    look
fi
before=$ids
put "$lock/before" "$before" || true
clock
deadline=$((now + p_limit))

# What a start leaves running must not hold this session's output, so it prints into a file.
started=yes
printf '' >"$own/start.log" 2>/dev/null || true
[ -w "$own/start.log" ] && out=$own/start.log || out=/dev/null
if [ -n "$before" ]; then
    say action restart
    web_restart >>"$out" 2>&1
else
    say action start
    web_start >>"$out" 2>&1
fi
status=$?
clock
if [ "$status" -ne 0 ]; then
    tail_log
    reason=$(tail -n 1 "$own/start.log" 2>/dev/null)
    fail not_restarted "the web server's script ended with status $status${reason:+: $reason}"
fi

since='' seen=$now
while true; do
    judge
    [ -n "$why" ] || break
    clock
    # With nothing that could still become a server there is nothing to wait for.
    if [ -n "$ids" ] || daemon_lives; then seen=$now; fi
    [ $((now - seen)) -lt 10 ] || break
    # Old processes have a limit of their own once the new ones are all there.
    if [ -n "$only_old" ]; then
        [ -n "$since" ] || since=$now
        [ $((now - since)) -lt "$p_old_gone" ] || break
    fi
    [ "$now" -lt "$deadline" ] || break
    pause
done
if [ -n "$why" ]; then
    tail_log
    fail not_proven "$why"
fi
put "$lock/masters" "$masters" || true
for id in $ids; do say process "${id%%:*}" "${id##*:}"; done
# shellcheck disable=SC2086
set -- $ids
say proven $#
finish
