# Receives a compressed tar on standard input and makes it a release, whole or not at all.
incoming=$own/incoming.$p_id
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
cleanup() { rm -rf "$incoming"; }
trap 'cleanup; exit 71' HUP INT TERM
if [ -e "$incoming" ] || [ -h "$incoming" ]; then rm -rf "$incoming"; fi
error=$(mkdir -p "$incoming" "$root/releases" 2>&1) || refuse not_writable "$error"
# unpack: says on descriptor 3 how tar ended, and how zstd did: a pipeline alone tells only of its last command.
# -o: files belong to the login user, also when that is root.
unpack() {
    if [ "$p_format" = zstd ]; then
        {
            zstd -dcq 3>&-
            echo "unzipped $?" >&3
        } | {
            tar -xof - -C "$incoming" 3>&-
            echo "unpacked $?" >&3
            # A tar that stops at the archive's end must not end zstd by a broken pipe.
            IFS= read -r line && cat >/dev/null
        }
    else
        tar -xzof - -C "$incoming" 3>&-
        echo "unpacked $?" >&3
        echo "unzipped 0" >&3
    fi
}
# last_lines: the last six lines, without a process: there are none when all goes well.
last_lines() {
    kept='' count=0
    while IFS= read -r line || [ -n "$line" ]; do
        kept=$kept$line$nl
        count=$((count + 1))
        [ "$count" -lt 200 ] || exec tail -n 6
        [ "$count" -le 6 ] || kept=${kept#*"$nl"}
    done
    printf '%s' "$kept"
}
report=$({ unpack 2>&1 | last_lines >&3; } 3>&1)
# What is left unread must not keep the sender waiting.
IFS= read -r line && cat >/dev/null
for done in "unzipped 0" "unpacked 0"; do
    case $nl$report$nl in *"$nl$done$nl"*) ;; *) refuse bad_payload "$report" ;; esac
done
first_line "$incoming/REVISION"
[ "$line" = "$p_revision" ] || fail bad_payload "REVISION says ${line:-nothing}, expected $p_revision"
put_state "$p_id" prepared || refuse not_writable "$error"
if ! error=$(mv "$incoming" "$release" 2>&1); then
    rm -f "$own/states/$p_id"
    rm -rf "$release"
    refuse not_writable "$error"
fi
say transferred yes
finish
