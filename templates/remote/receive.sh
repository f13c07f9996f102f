# What a script puts into `$incoming` becomes a release, whole or not at all.
incoming=$own/incoming.$p_id
release=$root/releases/$p_id
cleanup() { rm -rf "$incoming"; }

# refuse: as everywhere; of a full disk it says which it is, before cleaning up makes it look as if there were room.
refuse() {
    code=$1
    shift
    case $* in
    *'No space left'* | *'uota exceeded'* | *'ut of diskspace'*)
        find_disk "$root" "$own" "$root/releases" ${repo+"$repo"}
        fail no_space "$* (free on $mount: ${free_kb:-?} KB and ${free_inodes:-any number of} inodes)"
        ;;
    *'Read-only file system'* | *'ermission denied'* | *'not permitted'*) code=not_writable ;;
    esac
    fail "$code" "$*"
}

# needs KB INODES WHY: refuses what there is no room for.
needs() {
    find_disk "$own" "$root/releases"
    if [ -n "$free_kb" ] && [ "$free_kb" -lt "$1" ]; then
        fail no_space "$1 KB are needed ($3), $free_kb KB are free on $mount"
    fi
    if [ -n "$free_inodes" ] && [ "$free_inodes" -lt "$2" ]; then
        fail no_space "$2 inodes are needed ($3), $free_inodes are free on $mount"
    fi
}

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
    # What dead ones left behind: no other run is at it now.
    rm -rf "$own"/incoming.* "$own"/archive.* "$own"/git_hosts.* "$own"/delta.*
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
