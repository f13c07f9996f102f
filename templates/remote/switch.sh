# Points `current` to another release, by rename: at every moment it is the old link or the new one.
holding
find_current
[ -z "$odd" ] || fail current_odd "$current is $odd"
say was "${now_id:--}"
for stale in "$root"/.current.pitcrew.*; do
    [ ! -h "$stale" ] || rm -f "$stale"
done
if [ "$now_id" = "$p_to" ]; then
    say switched already
    finish
fi
[ "$now_id" = "$p_from" ] || fail current_changed "current is ${now_id:-none}, expected ${p_from:-none}"

if [ -z "$p_to" ]; then
    note switch "$p_from" - || true
    error=$(rm -f "$current" 2>&1) || refuse not_writable "$error"
    say switched yes
    finish
fi

release=$root/releases/$p_to
if [ ! -d "$release" ] || [ -h "$release" ]; then
    fail no_release "$release does not exist"
fi
find_state "$p_to"
if [ "$state" != foreign ]; then
    first_line "$release/REVISION"
    [ -n "$line" ] || fail no_release "$release is not complete: it has no REVISION"
fi
# keep_room: sets space and inodes aside, in the lock: going back must work on a disk that is full by then.
keep_room() {
    for n in 1 2 3 4 5 6 7 8; do printf '%4096s' '' >"$lock/spare.$n" || return 1; done
}
if [ "$state" != prepared ]; then
    rm -f "$lock"/spare.*
elif ! keep_room 2>/dev/null; then
    # A shell's own error does not tell a full disk from a broken one; that of `cat` does.
    error=$({ printf '%32768s' '' | cat >"$lock/spare.1"; } 2>&1)
    rm -f "$lock"/spare.*
    refuse no_space "${error:-there is no room for a few small files}"
fi
# Going forward needs its journal.
note switch "${p_from:--}" "$p_to" || [ "$state" != prepared ] || refuse not_writable "$error"

# rename_over FROM TO: rename(2), never a move into the directory that TO points to.
rename_over() {
    error=$(mv -fT "$1" "$2" 2>&1) && return 0
    unknown_option "$error" || return 1
    error=$(mv -fh "$1" "$2" 2>&1) && return 0
    unknown_option "$error" || return 1
    if command -v perl >/dev/null 2>&1; then
        error=$(perl -e 'rename($ARGV[0], $ARGV[1]) or die "$!\n"' "$1" "$2" 2>&1)
    elif command -v python3 >/dev/null 2>&1; then
        error=$(python3 -c 'import os, sys; os.rename(sys.argv[1], sys.argv[2])' "$1" "$2" 2>&1)
    elif command -v ruby >/dev/null 2>&1; then
        error=$(ruby -e 'File.rename(ARGV[0], ARGV[1])' "$1" "$2" 2>&1)
    else
        error="mv has no -T here, and there is no perl, python3 or ruby to rename with"
        return 1
    fi
}
unknown_option() {
    case $1 in
    *nvalid\ option* | *nrecognized\ option* | *llegal\ option* | *nknown\ option*) return 0 ;;
    esac
    return 1
}

link=$root/.current.pitcrew.$$
cleanup() { rm -f "$link"; }
trap 'cleanup; exit 71' HUP INT TERM
error=$(ln -s "releases/$p_to" "$link" 2>&1) || refuse not_switched "$error"

# The second line of `previous` is what line one becomes when this switch is taken back.
before='' older=''
{ read -r before && read -r older; } 2>/dev/null <"$own/previous"
# Its lines have one length, so that it is replaced where it stands, by one write that needs no room.
put_previous() {
    { printf '%-14s\n%-14s\n' "$1" "$2" 1<>"$own/previous"; } 2>/dev/null || put "$own/previous" "$1$nl$2"
}
if [ "$before" = "$p_to" ]; then
    put_previous "$older" "" || true
elif [ -n "$p_from" ]; then
    put_previous "$p_from" "$before" || [ "$state" != prepared ] || refuse not_writable "$error"
fi
# A release that was good before stays so when it is returned to.
case $state in
good | foreign) ;;
*) put_state "$p_to" active || [ "$state" != prepared ] || refuse not_writable "$error" ;;
esac

rename_over "$link" "$current" || refuse not_switched "$error"
find_current
[ "$now_id" = "$p_to" ] || fail not_switched "current still is $(readlink "$current")"
say switched yes
finish
