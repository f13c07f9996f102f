# Releases the lock that this run holds; the journal of the run stays beside it.
if [ ! -e "$lock" ] && [ ! -h "$lock" ]; then
    say released already
    finish
fi
find_owner
[ "$owner_run" = "$p_token" ] || fail not_ours "the lock is held by ${owner_run:-an unknown run}"
# Renamed first: nobody ever sees half a lock, and nobody's new lock is removed with it.
gone=$own/released.$$
error=$(mv "$lock" "$gone" 2>&1) || refuse not_writable "$error"
[ -f "$gone/journal" ] && mv -f "$gone/journal" "$own/journal" 2>/dev/null
rm -rf "$gone"
say released yes
finish
