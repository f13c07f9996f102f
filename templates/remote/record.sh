# What became of a release, and of a server.

# record: writes down what the parameters of `mark` say.
record() {
    note mark "${p_id:--}" "${p_state:--}" || true
    if [ -n "$p_state" ]; then
        put_state "$p_id" "$p_state" || refuse not_writable "$error"
    fi
    if [ -n "$p_line" ]; then
        error=$({ pour "$p_line" >>"$root/revisions.log"; } 2>&1) || refuse not_writable "$error"
    fi
    case $p_behind in
    '') ;;
    -) [ ! -e "$own/behind" ] || rm -f "$own/behind" ;;
    *) put "$own/behind" "$p_behind" || refuse not_writable "$error" ;;
    esac
}
