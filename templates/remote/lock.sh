# Takes this server's lock, renews it, keeps it for a reason, or tells who holds it.
#
# A lock appears whole, by the rename of a directory that has everything in it: no reader ever sees one without its owner,
# and of many who ask one gets it, since a rename never replaces a directory that is not empty.
case $p_mode in
look)
    if [ -d "$lock" ]; then tell_lock; else say lock free; fi
    finish
    ;;
renew)
    renewing
    # The sign of life is what counts, and needs no room.
    [ -z "$p_phase" ] || put "$lock/phase" "$p_phase" || true
    finish
    ;;
keep)
    holding
    put "$lock/stuck" "$p_reason" || refuse not_writable "$error"
    finish
    ;;
esac

first_line "$own/stack"
[ -z "$line" ] || [ "$line" = "$p_app" ] || fail other_stack "it belongs to $line, and [app] name is $p_app"

held() {
    tell_lock
    fail locked "another run holds the lock"
}

# write DIRECTORY: everything that a lock holds, the owner last.
write() {
    owner=$p_owner
    # The end of a freeze is told by this machine's clock alone.
    if [ -n "$p_for" ]; then
        at_last
        owner="$owner${nl}until=$((epoch + p_for))"
    fi
    if [ -n "$p_plan" ]; then put "$1/plan" "$p_plan" || return 1; fi
    { true >"$1/beat"; } 2>/dev/null || {
        error=$({ true >"$1/beat"; } 2>&1)
        return 1
    }
    put "$1/owner" "$owner"
}

# take_over_release NAME ID: makes a release of the directory that another tool has `current` lead to: a copy, of links to its
# files where that can be, so that nothing moves under what runs in it. Then `current` leads there.
take_over_release() {
    from=$root/releases/$1 to=$root/releases/$2 copy=$root/releases/.adopted.$2
    find_foreign
    [ "$foreign" = "$1" ] || fail stale_facts "current is $odd now"
    if [ -e "$to" ] || [ -h "$to" ]; then fail current_odd "$current is $odd, and $to is there already"; fi
    rm -rf "$copy"
    error=$(cp -al "$from" "$copy" 2>&1) || {
        rm -rf "$copy"
        error=$(cp -a "$from" "$copy" 2>&1)
    } || {
        rm -rf "$copy"
        refuse current_odd "$current is $odd, of which no copy can be made: $error"
    }
    link=$root/.current.pitcrew.$$
    error=$({ mv "$copy" "$to" && ln -s "releases/$2" "$link" && mv -fT "$link" "$current"; } 2>&1) || {
        rm -f "$link"
        rm -rf "$copy" "$to"
        refuse current_odd "$current is $odd, and cannot be pointed elsewhere: $error"
    }
    say adopted "$2" "$1"
}

# stage: makes the directory that is to become the lock.
fresh=$own/lock.new.$$.$p_token
stage() {
    [ -d "$root/releases" ] && [ -d "$root/shared" ] ||
        error=$(mkdir -p "$root/releases" "$root/shared" 2>&1) || refuse not_writable "$error"
    # What runs from here is no other user's business.
    make_own || refuse not_writable "$error"
    error=$(mkdir "$fresh" 2>&1) || refuse not_writable "$error"
    write "$fresh" && return 0
    # Gone: another run took it for a dead one's.
    [ ! -d "$fresh" ] || refuse not_writable "$error"
}
whole() {
    [ -f "$fresh/owner" ] && [ -f "$fresh/beat" ] || return 1
    [ -z "$p_plan" ] || [ -f "$fresh/plan" ]
}
cleanup() { rm -rf "$fresh"; }
trap 'cleanup; exit 71' HUP INT TERM

# thaw: makes the lock that an expired freeze left this run's own.
thaw() {
    find_until
    at_last
    [ -n "$until" ] && [ "$until" -le "$epoch" ] || return 1
    frozen=$owner_run
    error=$(
        claim "$frozen" || exit 1
        status=0
        write . || {
            printf '%s' "$error"
            status=2
        }
        rm -f ./claim
        exit "$status"
    )
    case $? in
    0) find_owner ;;
    2) refuse not_writable "$error" ;;
    *) return 1 ;;
    esac
    [ "$owner_run" = "$p_token" ]
}

tries=0 how=
while [ -z "$how" ]; do
    if [ -d "$lock" ]; then
        find_owner
        if [ "$owner_run" = "$p_token" ]; then
            true >"$lock/beat"
            # Taken before there was a plan.
            [ -z "$p_plan" ] || put "$lock/plan" "$p_plan" || refuse not_writable "$error"
            how=again
        elif thaw; then
            how=thawed
        else
            held
        fi
        continue
    fi
    whole || {
        [ ! -e "$fresh" ] || rm -rf "$fresh"
        stage
    }
    if whole; then error=$(mv "$fresh" "$lock" 2>&1); fi
    find_owner
    # Where another run was faster, it lies in that run's lock now.
    [ ! -d "$lock/${fresh##*/}" ] || rm -rf "${lock:?}/${fresh##*/}"
    if [ "$owner_run" = "$p_token" ]; then
        how=yes
    elif [ ! -d "$lock" ]; then
        tries=$((tries + 1))
        [ "$tries" -lt 5 ] || refuse not_writable "${error:-the lock cannot be taken}"
    fi
done
[ ! -e "$fresh" ] || rm -rf "$fresh"
cleanup() { true; }
if [ "$how" != again ]; then
    # What scripts left that were killed half way; their process is in its name.
    for stale in "$own"/lock.new.* "$own"/released.*; do
        [ -d "$stale" ] || continue
        pid=${stale##*/}
        pid=${pid#lock.new.}
        pid=${pid#released.}
        kill -0 "${pid%%.*}" 2>/dev/null || rm -rf "$stale"
    done
    cleanup() { mv "$lock" "$fresh" && rm -rf "$fresh"; }
fi

# What the plan took for granted: between its questions and the lock another run may have deployed.
if [ "$p_expect" = yes ]; then
    find_current
    if [ -n "$odd" ] && [ -n "$p_adopts" ]; then
        take_over_release "${p_adopts% *}" "${p_adopts##* }"
        find_current
    fi
    [ "$now_id" = "$p_current" ] || fail stale_facts "current was ${p_current:-nothing} and is ${now_id:-${odd:-nothing}}"
    newest=
    for dir in "$root"/releases/*; do
        if is_release "${dir##*/}" && [ -d "$dir" ] && [ ! -h "$dir" ]; then newest=${dir##*/}; fi
    done
    [ "$newest" = "$p_newest" ] || [ -z "$newest" ] ||
        fail stale_facts "the newest release was ${p_newest:-none} and is $newest"
fi
[ -z "${full-}" ] || keep
say taken "$how"
finish
