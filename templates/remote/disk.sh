# Disks: what is free on them, and how they are mounted.

# mounted DIRECTORY: sets `best`, the mount point that it lies below, and `mode`, how that is mounted.
mounted() {
    best='' mode=
    [ -r /proc/mounts ] || return 0
    if real_from=$PWD && cd -P "$1" 2>/dev/null; then
        physical=$PWD
        cd "$real_from" 2>/dev/null || true
    else
        physical=$1
    fi
    while read -r _ point _ options _; do
        case $physical/ in
        "${point%/}"/*)
            [ "${#point}" -ge "${#best}" ] && best=$point mode=$options
            ;;
        esac
    done </proc/mounts
}

# least FREE DIRECTORY and fewest ALL FREE: keep what is less than what is known.
least() {
    [ -n "$free_kb" ] && [ "$1" -ge "$free_kb" ] || free_kb=$1 fullest=$2
}
fewest() {
    # Some file systems have no fixed number of inodes and say 0.
    [ "$1" -gt 0 ] || return 0
    [ -n "$free_inodes" ] && [ "$2" -ge "$free_inodes" ] || free_inodes=$2
}

# counted FIGURES DIRECTORY…: reads what `stat` says of each; 1 when that is not what it was asked for.
counted() {
    rest=$1$nl
    shift
    for dir; do
        # shellcheck disable=SC2086 # four numbers
        set -- ${rest%%"$nl"*}
        rest=${rest#*"$nl"}
        [ $# = 4 ] || return 1
        case $1$2$3$4 in *[!0-9]*) return 1 ;; esac
        least $(($1 * $2 / 1024)) "$dir"
        fewest "$3" "$4"
    done
}

# find_disk DIRECTORY…: sets `free_kb` and `mount` of the fullest disk among theirs (`fullest`, where it is known), and
# `free_inodes`, the fewest; empty is what cannot be asked.
find_disk() {
    free_kb='' free_inodes='' mount='' fullest=''
    # One process tells both; where `stat` is another, `df` does.
    if counted "$(stat -f -c '%a %S %c %d' "$@" 2>/dev/null)" "$@"; then
        mounted "$fullest"
        mount=${best:-$fullest}
        return 0
    fi
    free_kb='' free_inodes=''
    mount=$(df -Pk "$@" 2>/dev/null | {
        while read -r _ _ _ free _ where; do
            case $free in '' | *[!0-9]*) ;; *) least "$free" "$where" ;; esac
        done
        printf '%s %s\n' "$free_kb" "$fullest"
    })
    free_kb=${mount%% *} mount=${mount#* } fullest=''
    free_inodes=$(df -Pi "$@" 2>/dev/null | {
        while read -r _ all _ free _; do
            case $all$free in '' | *[!0-9]*) ;; *) fewest "$all" "$free" ;; esac
        done
        printf '%s\n' "$free_inodes"
    })
}
