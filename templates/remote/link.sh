# Replaces the shared directories and files of a prepared release by links into shared/.
release=$root/releases/$p_id
holding
[ -d "$release" ] || fail no_release "$release does not exist"

# tidy PATH: sets `path` without `./`, double and final slashes; refuses what leads out of the release.
tidy() {
    case $1 in
    /*) fail bad_path "a shared path is relative to the release: $1" ;;
    esac
    path='' rest=$1/
    while [ -n "$rest" ]; do
        part=${rest%%/*}
        rest=${rest#*/}
        case $part in
        '' | .) ;;
        ..) fail bad_path "a shared path cannot hold '..': $1" ;;
        *) path=${path:+$path/}$part ;;
        esac
    done
    case $path in
    '') fail bad_path "a shared path cannot be the release itself: $1" ;;
    REVISION | .pitcrew) fail bad_path "$path belongs to the release" ;;
    esac
}

# place PATH: links one path. The link is relative, so the whole tree can be moved.
place() {
    up=../.. walked='' rest=$1
    while case $rest in */*) true ;; *) false ;; esac do
        walked=$walked/${rest%%/*}
        rest=${rest#*/}
        up=$up/..
        [ ! -h "$release$walked" ] || fail bad_path "$1 lies below a link: ${walked#/}"
        if [ -e "$release$walked" ] && [ ! -d "$release$walked" ]; then
            error=$(rm -f "$release$walked" 2>&1) || refuse not_writable "$error"
        fi
    done
    [ -z "$walked" ] || error=$(mkdir -p "$release$walked" 2>&1) || refuse not_writable "$error"
    if [ -h "$release/$1" ] && [ "$(readlink "$release/$1")" = "$up/shared/$1" ]; then
        return 0
    fi
    error=$(rm -rf "${release:?}/$1" 2>&1 && ln -s "$up/shared/$1" "$release/$1" 2>&1) || refuse not_writable "$error"
}

eval "set -- $p_dirs"
for one; do tidy "$one"; done
eval "set -- $p_files"
lacking=
for one; do
    tidy "$one"
    [ -e "$root/shared/$path" ] && continue
    say missing_file "$path"
    lacking=${lacking:+$lacking, }$path
done
[ -z "$lacking" ] || fail missing_files "not in $root/shared: $lacking"

note link "$p_id" || refuse not_writable "$error"
eval "set -- $p_dirs"
for one; do
    tidy "$one"
    error=$(mkdir -p "$root/shared/$path" 2>&1) || refuse not_writable "$error"
    place "$path"
done
eval "set -- $p_files"
for one; do
    tidy "$one"
    place "$path"
done
finish
