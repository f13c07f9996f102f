# What stands around the scripts of one exec that waits for them: a script takes three lines of its input, its name with a
# nonce and the time, its parameters and the user's environment; it runs in a subshell, and its end is told on both outputs.

own_nonce=$nonce own_mark=$mark

# over STATUS: tells it; of a script that was killed also beside the lock, since it could not do that itself.
over() {
    case $1 in
    0 | 70 | 75) ;;
    *)
        step=$lock/step.$mark
        first_line "$step"
        [ "$line" != begun ] || ended exit "$1"
        step=
        echo
        ;;
    esac
    # On lines of their own: of a long last line without a newline the end is cut off, and this with it. The reader passes over
    # an empty line before it.
    say over "$1"
    { echo && say over "$1"; } >&2
}

# keep: leaves this text beside the releases, so that the next run need not send it; what cannot be kept is sent again.
keep() (
    kept=$own/scripts
    name=$(printf '%s\n' "$full" | sha256sum)
    name=${name%% *}
    [ ${#name} = 64 ] || exit 0
    rights=700
    [ ! -g "$own" ] || rights=2770
    [ -d "$kept" ] || mkdir -m "$rights" "$kept"
    rm -f "$kept"/new.*
    printf '%s\n' "$full" >"$kept/new.$mark" && mv -f "$kept/new.$mark" "$kept/$name" || rm -f "$kept/new.$mark"
    # shellcheck disable=SC2012 # names of ours
    ls -t "$kept" | tail -n +9 | while IFS= read -r name; do rm -f "$kept/$name"; done
) 2>/dev/null

# A signal is for the script that runs: what it undoes is waited for.
trap 'exit 71' HUP INT TERM
