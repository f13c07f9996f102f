# Removes a release that was prepared and is not needed: never the current one, never one that is used.
holding
find_current
[ "$now_id" != "$p_id" ] || fail in_use "$p_id is the current release"
note remove "$p_id" || true
# So that a run of every minute does not build in vain what could not be built; a word less on a full disk does no harm.
[ -z "${p_unbuilt-}" ] || put "$own/unbuilt" "$p_id $p_unbuilt" || true
rm -rf "$own/incoming.$p_id" "$own/archive.$p_id" "$own/git_hosts.$p_id" "$own/delta.$p_id" "$root"/repo/objects/pack/tmp_*
if [ ! -e "$root/releases/$p_id" ]; then
    rm -f "$own/states/$p_id"
    say removed already
    finish
fi
find_state "$p_id"
case $state in
good | foreign) fail in_use "$p_id is a $state release" ;;
esac
first_line "$own/previous"
[ "${line%% *}" != "$p_id" ] || fail in_use "$p_id is the previous release"
find_used
case $used in *" $p_id "*) fail in_use "a process comes from $p_id" ;; esac
discard "$p_id" || refuse not_removed "$error"
say removed "$p_id"
finish
