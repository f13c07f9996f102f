# What there is to know of a held lock.
epoch=

# age_of FILE: sets `age` in seconds by this machine's clock, which set the file's time too; empty when it cannot tell.
age_of() {
    at_last
    touched=$(stat -c %Y "$1" 2>/dev/null || date -r "$1" +%s 2>/dev/null)
    case $touched in
    '' | *[!0-9]*) age= ;;
    *)
        age=$((epoch - touched))
        [ "$age" -ge 0 ] || age=0
        ;;
    esac
}

# at_last: sets `epoch`, what time it is here, when it is first needed.
at_last() { [ -n "$epoch" ] || epoch=$(date +%s); }

# tell_lines KEY FILE: answers the lines of a file.
tell_lines() {
    [ -f "$2" ] && [ -r "$2" ] || return 0
    while IFS= read -r line || [ -n "$line" ]; do say "$1" "$line"; done <"$2"
}

# tell_lock: who holds the lock, why, what the run does, and how long ago it gave a sign of life.
tell_lock() {
    say lock held
    tell_lines owner "$lock/owner"
    tell_lines stuck "$lock/stuck"
    tell_lines phase "$lock/phase"
    for file in "$lock/beat" "$lock/owner" "$lock"; do [ -e "$file" ] && break; done
    age_of "$file"
    [ -n "$age" ] && say age "$age"
    find_until
    if [ -n "$until" ]; then
        at_last
        say left "$((until - epoch))"
    fi
    if [ -f "$lock/journal" ] && [ -r "$lock/journal" ]; then
        doing=
        while IFS= read -r line || [ -n "$line" ]; do doing=$line; done <"$lock/journal"
        [ -n "$doing" ] && say doing "$doing"
    fi
}

# find_until: sets `until`, when a freeze ends by this machine's clock; empty: it is none, or has no end.
find_until() {
    until=
    [ -f "$lock/owner" ] && [ -r "$lock/owner" ] || return 0
    while IFS= read -r line; do
        case $line in until=*) until=${line#until=} ;; esac
    done <"$lock/owner"
    case $until in *[!0-9]* | ??????????????*) until= ;; esac
}
