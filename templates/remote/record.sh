# What became of a release, and of a server.

# with_room COMMAND…: does it, if need be in the room that the switch set aside, and in that of what no step asks for any more.
with_room() {
    "$@" && return 0
    rm -f "$lock"/spare.* "$lock"/step.* "$lock/before" "$own/start.log"
    "$@"
}
tell_history() {
    error="$root/revisions.log is no file"
    # A pipe would wait for a reader.
    [ ! -e "$root/revisions.log" ] || [ -f "$root/revisions.log" ] || return 1
    error=$({ pour "$p_line" >>"$root/revisions.log"; } 2>&1)
}

# record: writes down what the parameters of `mark` say.
record() {
    note mark "${p_id:--}" "${p_state:--}" || true
    # What takes a dead run back does not know that the release had failed here: it stays one that failed.
    if [ "$p_state" = reverted ]; then
        find_state "$p_id"
        [ "$state" != failed ] || p_state=failed
    fi
    if [ -n "$p_state" ]; then
        with_room put_state "$p_id" "$p_state" || refuse not_writable "$error"
    fi
    if [ -n "$p_line" ]; then
        with_room tell_history || refuse not_writable "$error"
    fi
    case $p_behind in
    '') ;;
    -) [ ! -e "$own/behind" ] || rm -f "$own/behind" ;;
    *) with_room put "$own/behind" "$p_behind" || refuse not_writable "$error" ;;
    esac
}
