# What stands around the scripts of one exec that waits for them: a script takes three lines of its input, its name with a
# nonce and the time, its parameters and the user's environment; it runs in a subshell, and its end is told on both outputs.

# over STATUS: tells it; of a script that was killed also beside the lock, since it could not do that itself.
over() {
    case $1 in
    0 | 70 | 75) ;;
    *)
        step=$lock/step.$nonce
        first_line "$step"
        [ "$line" != begun ] || ended exit "$1"
        step=
        ;;
    esac
    say over "$1"
    say over "$1" >&2
}

# A signal is for the script that runs: what it undoes is waited for.
trap 'exit 71' HUP INT TERM
