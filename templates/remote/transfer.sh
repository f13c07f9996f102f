# Receives a release on standard input and makes it, whole or not at all.
#
# Either all of it: a compressed tar. Or what differs from the tree that is cached here (`p_base`): `p_gone` bytes of
# compressed names to be removed, NUL after each, then a compressed tar; nothing when nothing differs. The cached tree is
# never believed: what comes out is compared with the digest of the tree that is wanted (`p_tree`).
incoming=$own/incoming.$p_id
release=$root/releases/$p_id
work=$own/delta.$p_id
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
cleanup() { rm -rf "$incoming" "$work"; }
trap 'cleanup; exit 71' HUP INT TERM
# What dead transfers left behind: no other run is at it now.
for dir in "$own"/incoming.* "$own"/delta.* "$own"/archive.* "$own"/git_hosts.*; do
    if [ -e "$dir" ] || [ -h "$dir" ]; then rm -rf "$dir"; fi
done
listed=
if [ -n "$p_tree" ] && can_list; then
    listed=yes
    error=$(mkdir -p "$work/cache" "$root/releases" 2>&1) || refuse not_writable "$error"
fi

# is_wanted: whether what has come in is the tree that is wanted; sets `error`.
is_wanted() {
    error=$(list "$incoming" "$work" 2>&1)
    sum "$work/names" "$work/modes" "$work/content"
    [ "$sum" = "$p_tree" ]
}

# apply: makes the cached tree, now in $work/cache, what is wanted.
apply() {
    # Only the shape: nothing is to be written through a link that does not belong there. Content is looked at in the end.
    error=$(shape "$work/cache/tree" "$work" 2>&1)
    sum "$work/cache/names" "$work/cache/modes"
    was=$sum
    sum "$work/names" "$work/modes"
    [ "$sum" = "$was" ] || fail stale_base "the cached tree has been changed"
    if [ "$p_gone" -gt 0 ]; then
        error=$({ head -c "$p_gone" "$work/sent" | unzip | (cd "$work/cache/tree" && xargs -0 rm -rf); } 2>&1) ||
            refuse stale_base "$error"
    fi
    tail -c "+$((p_gone + 1))" "$work/sent" >"$work/tar" && rm -f "$work/sent"
    unpacked "$work/cache/tree" <"$work/tar" || refuse stale_base "$report"
    rm -f "$work/tar"
}

if [ -n "$p_base" ]; then
    base=$own/cache/$p_base
    [ -n "$listed" ] || fail stale_base "the server lacks what it takes to compare trees"
    # stale WHY: what cannot be used is no base for the next one either.
    stale() {
        rm -rf "$base"
        refuse stale_base "$*"
    }
    for file in tree names modes content; do
        if [ ! -e "$base/$file" ] || [ -h "$base/$file" ]; then stale "the cached tree is gone"; fi
    done
    sum "$base/names" "$base/modes" "$base/content"
    [ "$sum" = "$p_base" ] || stale "what the cache says of itself is damaged"
    if [ "$p_size" = 0 ]; then
        copy "$base/tree" "$incoming" || refuse not_writable "$error"
        is_wanted || stale "the cached tree has been changed${error:+: $error}"
    else
        # Whole before the cache is touched: a connection that is lost costs no more than this.
        error=$(cat 2>&1 >"$work/sent") || refuse bad_payload "$error"
        size=$(wc -c <"$work/sent")
        [ "$((size))" = "$p_size" ] || fail bad_payload "$((size)) of $p_size bytes arrived"
        # From here on it is no run's base, until it is whole again.
        rmdir "$work/cache" 2>/dev/null
        error=$(mv "$base" "$work/cache" 2>&1) || refuse stale_base "$error"
        apply
        copy "$work/cache/tree" "$incoming" || refuse not_writable "$error"
        is_wanted || refuse stale_base "the cached tree has been changed${error:+: $error}"
    fi
    first_line "$incoming/REVISION"
    [ "$line" = "$p_revision" ] || fail stale_base "REVISION says ${line:-nothing}, expected $p_revision"
else
    [ ! -e "$own/cache" ] || rm -rf "$own/cache"
    error=$(mkdir -p "$incoming" "$root/releases" 2>&1) || refuse not_writable "$error"
    unpacked "$incoming" || refuse bad_payload "$report"
    first_line "$incoming/REVISION"
    [ "$line" = "$p_revision" ] || fail bad_payload "REVISION says ${line:-nothing}, expected $p_revision"
    if [ -n "$listed" ] && ! is_wanted; then
        listed=
        # A file system that keeps no permissions is no reason to refuse what it has whole; it is no base either.
        types "$work/modes" >"$work/types" && sum "$work/names" "$work/types" "$work/content"
        [ "$sum" = "$p_loose" ] || refuse bad_payload "what came out is not the tree that was sent${error:+: $error}"
        say modes lost
    fi
    # A copy for the next time is worth no failure: there may be no room for it.
    if [ -n "$listed" ] && { [ "$p_keep" != yes ] || ! copy "$incoming" "$work/cache/tree"; }; then listed=; fi
fi
put_state "$p_id" prepared || refuse not_writable "$error"
if ! error=$(mv "$incoming" "$release" 2>&1); then
    rm -f "$own/states/$p_id"
    rm -rf "$release"
    refuse not_writable "$error"
fi
# keep: what is cached from now on: all of it, under its name, by one rename.
keep() {
    mv -f "$work/names" "$work/modes" "$work/content" "$work/cache/" &&
        printf '%s\n' "$p_kb" >"$work/cache/kb" &&
        mkdir -p "$own/cache" && mv "$work/cache" "$own/cache/$p_tree"
} 2>/dev/null
if [ -n "$listed" ] && [ "$p_base" != "$p_tree" ] && keep; then say cached yes; fi
[ -z "$p_tree" ] || rm -rf "$work"
say transferred yes
finish
