# Judges again, after the health check, what the restart proved: what was new then must have stayed.
find_current
[ "$now_id" = "$p_id" ] || fail current_changed "current is ${now_id:-${odd:-none}}, expected $p_id"
if [ "$p_none" = yes ]; then
    say proven 0
    finish
fi
[ -r /proc/self/stat ] || fail no_proc "there is no /proc to prove a restart with"
wanted_release=$p_id
find_owner
before='' proven=''
if [ "$owner_run" = "$p_token" ]; then
    first_line "$lock/before"
    before=$line
    first_line "$lock/masters"
    proven=$line
fi
judge
if [ -z "$why" ] && [ -n "$proven" ] && [ "$p_lazy" != yes ] && [ "$masters" != "$proven" ]; then
    # A second look: a reload that took one turn more is no failure, a server that keeps restarting is.
    became=$masters
    sleep 1
    judge
    if [ -z "$why" ] && [ "$masters" != "$became" ]; then
        why="the server keeps restarting by itself since it was proven: process$proven became$became, then$masters"
    fi
fi
if [ -n "$why" ]; then
    tail_log
    fail not_proven "$why"
fi
if [ "$owner_run" = "$p_token" ]; then note proven "$p_id" || true; fi
for id in $ids; do say process "${id%%:*}" "${id##*:}"; done
# shellcheck disable=SC2086
set -- $ids
say proven $#
finish
