# Removing releases: only whole ones, and never one that is used.

# find_used: sets `used` to the releases that live processes work in.
find_used() {
    used=
    listing=$(ls -ln /proc/[0-9]*/cwd 2>/dev/null)
    set -f
    IFS=$nl
    for entry in $listing; do
        where=${entry#*/cwd -> }
        case $where in
        "$real"/releases/*)
            where=${where#"$real"/releases/}
            used="$used ${where%%/*}"
            ;;
        esac
    done
    unset IFS
    set +f
}

# discard ID: removes a release. It is renamed away first, so that half of one is never taken for a release.
# No directory is made to put it in: that takes an inode, and a full disk may have none.
discard() {
    empty_trash || return 1
    error=$(mv "$root/releases/$1" "$own/trash" 2>&1) || return 1
    error=$(rm -rf "$own/states/$1" "$own/trash" 2>&1) || empty_trash
}

# empty_trash: sets `error` and returns 1 when something cannot be removed.
empty_trash() {
    [ -d "$own/trash" ] || return 0
    error=$(rm -rf "$own/trash" 2>&1) && return 0
    # Some tools leave directories that nobody may write in.
    chmod -R u+rwX "$own/trash" 2>/dev/null
    error=$(rm -rf "$own/trash" 2>&1 | tail -n 1)
    [ ! -e "$own/trash" ]
}
