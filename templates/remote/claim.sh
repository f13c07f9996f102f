# Taking over a lock that was left behind: of many runs that try at once, one succeeds.

# claim FROM: enters the lock, and claims it while its owner is still FROM. False: another run is at it, or has been.
# The directory is entered first: whatever becomes of its name, what is looked at is what is changed. For a subshell.
claim() {
    cd "$lock" 2>/dev/null || return 1
    # A script that is ended half way lets go of it: the next need not wait.
    trap 'case $(ls -l ./claim 2>/dev/null) in *" -> $p_token") rm -f ./claim ;; esac; exit 71' HUP INT TERM
    # A link, since it needs no room on the disk, and is never replaced by another.
    if ! ln -s "$p_token" ./claim 2>/dev/null; then
        # A script that made it and died over it did not take as long as this.
        touched=$(find ./claim -prune -mmin +1 2>/dev/null)
        [ -n "$touched" ] && rm -f ./claim && ln -s "$p_token" ./claim 2>/dev/null || return 1
    fi
    owner_run=
    if [ -f ./owner ] && [ -r ./owner ]; then
        while IFS= read -r line; do
            case $line in run=*) owner_run=${line#run=} ;; esac
        done <./owner
    fi
    [ "$owner_run" = "$1" ] && return 0
    rm -f ./claim
    return 1
}
