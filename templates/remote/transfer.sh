# Receives a gzipped tar on standard input and makes it a release, whole or not at all.
incoming=$own/incoming/$p_id
release=$root/releases/$p_id
holding
if [ -e "$release" ] || [ -h "$release" ]; then
    first_line "$release/REVISION"
    revision=$line
    find_state "$p_id"
    # The same run sent it before and lost the answer.
    if [ "$state" = prepared ] && [ "$revision" = "$p_revision" ] && [ -f "$lock/journal" ] &&
        grep -q " transfer $p_id\$" "$lock/journal" 2>/dev/null; then
        cat >/dev/null
        say transferred again
        finish
    fi
    fail release_exists "$release exists already ($state${revision:+, revision $revision})"
fi
note transfer "$p_id" || refuse not_writable "$error"
cleanup() {
    rm -rf "$incoming"
    rmdir "$own/incoming" 2>/dev/null
}
trap 'cleanup; exit 71' HUP INT TERM
rm -rf "$incoming"
error=$(mkdir -p "$incoming" "$root/releases" 2>&1) || refuse not_writable "$error"
# -o: files belong to the login user, also when that is root.
report=$({
    tar -xzof - -C "$incoming"
    echo "status $?"
} 2>&1 | tail -n 6)
status=${report##*"status "}
case $status in
0) ;;
*) refuse bad_payload "${report%"status $status"}" ;;
esac
# What tar leaves unread must not keep the sender waiting.
cat >/dev/null
first_line "$incoming/REVISION"
[ "$line" = "$p_revision" ] || fail bad_payload "REVISION says ${line:-nothing}, expected $p_revision"
put_state "$p_id" prepared || refuse not_writable "$error"
if ! error=$(mv "$incoming" "$release" 2>&1); then
    rm -f "$own/states/$p_id"
    rm -rf "$release"
    refuse not_writable "$error"
fi
rmdir "$own/incoming" 2>/dev/null
say transferred yes
finish
