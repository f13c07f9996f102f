# Records that a person takes this server out of its balancer, or has put it back; says which run holds a lock, if any.
if [ -n "$p_record" ]; then
    # Where nothing was ever deployed, nothing is created.
    [ -d "$root" ] || fail no_site "there is no $root yet"
    make_own || refuse not_writable "$error"
    put "$own/drained" "$p_record" || refuse not_writable "$error"
elif [ -e "$own/drained" ]; then
    error=$(rm -f "$own/drained" 2>&1) || refuse not_writable "$error"
fi
# Whatever a run left behind is still to be done; where the server is has been decided by hand since.
first_line "$own/behind"
case $line in
*' drained') put "$own/behind" "${line%% drained}" || refuse not_writable "$error" ;;
esac
[ ! -d "$lock" ] || tell_lock
finish
