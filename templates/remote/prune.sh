# Removes old releases: all but the newest good ones, the current, the previous, and those in use. Before that it records
# that the run's own is good: then the oldest good one may go.
holding
[ "$p_mark" != yes ] || record
# Whose directory it is, now that a release of it serves here.
[ "$p_mark" != yes ] || put "$own/stack" "$p_app" || true
# What could not be built once, and serves now, could be.
if [ "$p_mark" = yes ] && [ -e "$own/unbuilt" ]; then
    first_line "$own/unbuilt"
    unbuilt=${line#* }
    first_line "$root/releases/${p_id-}/REVISION"
    [ "$unbuilt" != "$line" ] || rm -f "$own/unbuilt"
fi
find_current
# Another hand has moved it since this server's turn.
[ "$p_mark" != yes ] || [ "$now_id" = "${p_id-}" ] || say moved "${now_id:-${odd:-${gone:-nothing}}}"
first_line "$own/previous"
previous=${line%% *}
eval "set -- $p_spare"
spared=" $* $now_id $previous " looked='' stuck=''
note prune "$p_keep" || true
for dir in "$own"/trash "$own"/trash.*; do
    [ -e "$dir" ] || continue
    burn "$dir" && continue
    say left "${dir##*/}" "$error"
    stuck="$stuck $dir ($error)"
done
for dir in "$own"/incoming.* "$own"/delta.*; do
    [ ! -d "$dir" ] || rm -rf "$dir"
done
# No run sends what differs from it any more.
if [ "$p_cache" != yes ] && [ -d "$own/cache" ]; then rm -rf "$own/cache"; fi

all=
for dir in "$root"/releases/*; do
    id=${dir##*/}
    if is_release "$id" && [ -d "$dir" ] && [ ! -h "$dir" ]; then all="$id $all"; fi
done
# Newest first. What failed does not count as kept, and goes once something newer is good.
good=0 newer='' second=''
for id in $all; do
    until=$second second=$newer newer=$id
    find_state "$id"
    [ "$state" != foreign ] || vouched "$id" || state=unfinished
    case $state in
    good | foreign)
        good=$((good + 1))
        [ "$good" -gt "$p_keep" ] || continue
        ;;
    # Nothing says that it was ever whole, nor that it was not: it ages out behind those that are kept.
    unfinished) [ "$good" -ge "$p_keep" ] || continue ;;
    *) [ "$good" -gt 0 ] || continue ;;
    esac
    case $spared in *" $id "*) continue ;; esac
    # Not before there is something to remove: on a busy server it takes a while.
    if [ -z "$looked" ]; then
        find_used
        find_hidden
        looked=yes
    fi
    case $used in *" $id "*) continue ;; esac
    # What cannot be seen is not taken for gone.
    if suspect "$id" "${until:-99991231235959}"; then
        say kept "$id" "process $who, which this login may not look into, may come from it"
        continue
    fi
    if discard "$id"; then
        say removed "$id"
    else
        say left "$id" "$error"
        stuck="$stuck $id ($error)"
    fi
done
for file in "$own"/states/*; do
    id=${file##*/}
    if is_release "$id" && [ ! -e "$root/releases/$id" ]; then rm -f "$file"; fi
done
[ -z "$stuck" ] || fail not_removed "cannot remove$stuck"
finish
