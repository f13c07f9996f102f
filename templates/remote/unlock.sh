# Releases the lock that this run holds; the journal of the run stays beside it.
if [ ! -e "$lock" ] && [ ! -h "$lock" ]; then
    say released already
    finish
fi
find_owner
[ "$owner_run" = "$p_token" ] || fail not_ours "the lock is held by ${owner_run:-an unknown run}"
# Renamed first: no reader ever sees half a lock, and no new lock is removed with it.
gone=$own/released.$$
[ ! -e "$gone" ] || rm -rf "$gone"
if ! error=$(mv "$lock" "$gone" 2>&1); then
    [ -e "$lock" ] || [ -h "$lock" ] || { say released already; finish; }
    refuse not_writable "$error"
fi
taken=$lock
lock=$gone
find_owner
lock=$taken
if [ "$owner_run" != "$p_token" ] && [ -d "$gone" ]; then
    # Another script released it a moment before, and another run has taken it since: it is that run's.
    [ -e "$lock" ] || mv "$gone" "$lock"
    fail not_ours "the lock is held by ${owner_run:-an unknown run}"
fi
[ -f "$gone/journal" ] && mv -f "$gone/journal" "$own/journal" 2>/dev/null
rm -rf "$gone"
say released yes
finish
