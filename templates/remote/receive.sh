# What a script puts into `$incoming` becomes a release, whole or not at all.
incoming=$own/incoming.$p_id
release=$root/releases/$p_id
cleanup() { rm -rf "$incoming"; }

# receive: refuses a release that is there already, and makes room for a new one.
receive() {
    if [ -e "$release" ] || [ -h "$release" ]; then
        first_line "$release/REVISION"
        revision=$line
        find_state "$p_id"
        # The same run made it before and lost the answer.
        if [ "$state" = prepared ] && [ "$revision" = "$p_revision" ] && [ -f "$lock/journal" ] &&
            grep -q " transfer $p_id\$" "$lock/journal" 2>/dev/null; then
            say transferred again
            finish
        fi
        fail release_exists "$release exists already ($state${revision:+, revision $revision})"
    fi
    note transfer "$p_id" || refuse not_writable "$error"
    trap 'cleanup; exit 71' HUP INT TERM
    error=$(mkdir -p "$root/releases" 2>&1) || refuse not_writable "$error"
    empty_incoming
}

# empty_incoming: begins anew.
empty_incoming() {
    if [ -e "$incoming" ] || [ -h "$incoming" ]; then rm -rf "$incoming"; fi
    error=$(mkdir -p "$incoming" 2>&1) || refuse not_writable "$error"
}

# keep: writes the release's revision, reads it again, and puts the release where it belongs.
keep() {
    rm -rf "$incoming/REVISION" "$incoming/.pitcrew"
    put "$incoming/REVISION" "$p_revision" || refuse not_writable "$error"
    first_line "$incoming/REVISION"
    [ "$line" = "$p_revision" ] || fail no_space "REVISION says ${line:-nothing}, expected $p_revision"
    put_state "$p_id" prepared || refuse not_writable "$error"
    if ! error=$(mv "$incoming" "$release" 2>&1); then
        rm -f "$own/states/$p_id"
        rm -rf "$release"
        refuse not_writable "$error"
    fi
    cleanup
    say transferred yes
    finish
}
