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
    # The process that was named ended just then, maybe for one that takes over: a start would find its place taken.
    pause
    look
fi
find_untouched
if [ "$went" != "$p_id" ] && as_found; then
    # A restart on another release failed before it touched anything.
    put "$lock/before" "$was$nl$p_id${nl}yes" || true
    say action none
    say_proven
    finish
fi
before=$ids
[ ! -e "$lock/denied" ] || rm -f "$lock/denied"
put "$lock/before" "$before$nl$p_id" || true
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
say_notices
clock
if [ "$status" -ne 0 ]; then
    tail_log
    reason=$(tail -n 1 "$own/start.log" 2>/dev/null)
    case $reason in
    *'ot permitted'* | *'ermission denied'* | *'ccess denied'* | *'assword is required'* | *'uthentication'*' required'*)
        true >"$lock/denied"
        ;;
    esac
    fail not_restarted "the web server's script ended with status $status${reason:+: $reason}"
fi

since='' astray='' led='' seen=$now
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
    # Where a process comes from does not change any more, short of an exec.
    if [ -n "$traces" ]; then
        [ -n "$astray" ] || astray=$now
        [ $((now - astray)) -lt 3 ] || break
    fi
    # New processes that all stay in another release were led there. One that is restarted by requests may still begin anew.
    if [ "$p_lazy" != yes ] && [ -z "$remaining" ] && led_astray; then
        [ "$led" = "$ids" ] || { led=$ids && arrived=$now; }
        if [ $((now - arrived)) -ge 5 ]; then
            why="$why. The configuration leads there by a release's own path, or by the place of a file in it: write $current"
            break
        fi
    else
        led=
    fi
    [ "$now" -lt "$deadline" ] || break
    pause
done
if [ -n "$why" ]; then
    tail_log
    case $why in *BUNDLE_GEMFILE*) why="$why. Have it come through the link: BUNDLE_GEMFILE=$current/Gemfile" ;; esac
    fail not_proven "$why"
fi
put "$lock/masters" "$masters" || true
[ ! -e "$lock/glanced" ] || rm -f "$lock/glanced"
say_proven
finish
