# What every remote script begins with: answers, refusals, the site's places, the lock and the user's environment.
# Comment lines and indentation are dropped before this is sent. Runs under dash, busybox sh and bash, with `sh -c`.
# A redirection that fails on a special builtin (`:`) ends a POSIX shell: `true >file` is meant that way.
set -u
# `nonce` marks the answers, and is nothing that the user's commands could know; the mark names this script to all.
mark=$2
set --
# An answer that no client hears must not end the script before it has left word of its end. Caught, not ignored:
# what it starts is ended by that signal as ever.
trap : PIPE
unset IFS CDPATH
login_umask=$(umask)
umask 022
nl='
'
had_lc=${LC_ALL+yes}
user_lc=${LC_ALL-}
LC_ALL=C
export LC_ALL
PATH=${PATH:-/usr/local/bin:/usr/bin:/bin}:/usr/local/sbin:/usr/sbin:/sbin
export PATH

# say KEY VALUE…: one answer. Newlines and backslashes arrive escaped, other control bytes as `?`.
say() {
    case $* in
    *[\\[:cntrl:]]*) printf '@pitcrew:%s %s\n' "${nonce?}" "$(escaped "$*")" ;;
    *) printf '@pitcrew:%s %s\n' "${nonce?}" "$*" ;;
    esac
}
escaped() {
    printf '%s\n' "$1" | tr '\001-\011\013-\037\177' '?' | sed -e 's/\\/\\\\/g' -e '$!s/$/\\n/' | tr -d '\n'
}

# cleanup: what a script undoes before it refuses; each script that has something to undo replaces it.
cleanup() { true; }

# ended HOW…: leaves word beside the lock, for a client whose connection is lost before it hears the answer.
step=''
ended() {
    [ -z "$step" ] || printf '%s\n' "$*" >"$step"
} 2>/dev/null

# fail CODE DETAIL…: refuses and ends the script (not only a subshell: never call it inside `$(…)`).
fail() {
    code=$1
    shift
    cleanup
    ended fail "$code" "$*"
    say fail "$code" "$*"
    [ "$code" = locked ] && exit 75
    exit 70
}

# finish: the in-band proof that a script ran to its end.
finish() {
    ended 'done'
    say 'done'
    exit 0
}

# refuse CODE TEXT…: fails with what the error text says of the disk, else with CODE.
refuse() {
    code=$1
    shift
    case $* in
    *'No space left'* | *'uota exceeded'*) code=no_space ;;
    *'Read-only file system'* | *'ermission denied'* | *'not permitted'*) code=not_writable ;;
    esac
    fail "$code" "$*"
}

case $p_root in
/*) root=$p_root ;;
\~) root=${HOME:-} ;;
\~/*) root=${HOME:-}/${p_root#??} ;;
*) root=${HOME:-}/$p_root ;;
esac
while case $root in */) true ;; *) false ;; esac do root=${root%/}; done
case $p_root in
/*) ;;
*) [ -n "${HOME:-}" ] || fail bad_root "the login has no HOME, and deploy_to is relative: $p_root" ;;
esac
[ -n "$root" ] || fail bad_root "deploy_to is the root directory"
current=$root/current
own=$root/.pitcrew
# Where a group shares it, what one login writes another may replace.
[ ! -g "$own" ] || umask 002
lock=$own/lock
p_token=${p_token-}
# What time it is here: told, or asked when it is needed.
moment=${p_at-}
# find_real: sets `real`, deploy_to without links. Without a subshell: every process counts when many servers share a
# machine's processors.
find_real() {
    if [ -d "$root" ] && real_from=$PWD && cd -P "$root" 2>/dev/null; then
        real=$PWD
        cd "$real_from" 2>/dev/null || true
    else
        real=$root
    fi
}
find_real

# The user's environment: one line of shell code on standard input. Kept as text and evaluated only where the
# user's own commands run, so that it can neither disturb these scripts nor be seen by `mv` and `tar`.
IFS= read -r user_env || fail no_input "the connection ended before the environment arrived"
[ -n "${p_payload-}" ] || exec </dev/null

# as_this_user COMMAND…: runs a command, or a function, with the user's locale, umask and environment, which stay: for subshells.
as_this_user() {
    set +u
    umask "$login_umask"
    if [ -n "$had_lc" ]; then LC_ALL=$user_lc; else unset LC_ALL; fi
    eval "$user_env"
    unset user_env nonce own_nonce
    # Where nothing names a locale, programs such as Ruby take all text for ASCII.
    if [ -z "${LC_ALL-}${LC_CTYPE-}${LANG-}" ]; then
        LANG=C.UTF-8
        export LANG
    fi
    PATH=$PATH:/usr/local/bin:/usr/bin:/bin:/usr/local/sbin:/usr/sbin:/sbin
    export PATH
    "$@"
}
as_user() (as_this_user "$@")

# is_release NAME: fourteen digits, as Capistrano makes them.
is_release() {
    case $1 in
    [0-9][0-9][0-9][0-9][0-9][0-9][0-9][0-9][0-9][0-9][0-9][0-9][0-9][0-9]) return 0 ;;
    esac
    return 1
}

# find_current: sets `now_id` (the release that current points to), `odd` (what it is instead), or `gone`: the place of a
# release that is not there any more, which is as good as none.
find_current() {
    now_id='' odd='' gone=''
    # Asked of the shell first; what it cannot tell for sure is looked at closely.
    if [ -h "$current" ] && real_from=$PWD && cd -P "$current" 2>/dev/null; then
        now_id=${PWD#"$real"/releases/}
        cd "$real_from" 2>/dev/null || true
        is_release "$now_id" && [ -d "$root/releases/$now_id" ] && return 0
        now_id=
    fi
    if [ -h "$current" ]; then
        target=$(readlink "$current")
        now_id=${target%/}
        now_id=${now_id#./}
        case $now_id in
        "$root"/releases/*) now_id=${now_id#"$root"/releases/} ;;
        "$real"/releases/*) now_id=${now_id#"$real"/releases/} ;;
        releases/*) now_id=${now_id#releases/} ;;
        *)
            now_id=$(cd "$current" 2>/dev/null && pwd -P) || now_id=
            case $now_id in
            "$real"/releases/*) now_id=${now_id#"$real"/releases/} ;;
            *) now_id= ;;
            esac
            ;;
        esac
        if ! is_release "$now_id"; then
            now_id='' odd="a link to $target"
        elif [ ! -d "$root/releases/$now_id" ]; then
            now_id='' gone=$target
        fi
    elif [ -d "$current" ]; then
        odd="a directory"
    elif [ -e "$current" ]; then
        odd="a file"
    fi
}

# find_foreign: sets `foreign` to the name below `releases` of the directory that an odd `current` leads to, where that has a
# name of another tool's making.
find_foreign() {
    foreign=$(cd -P "$current" 2>/dev/null && pwd -P) || foreign=
    case $foreign in
    "$real"/releases/*) foreign=${foreign#"$real"/releases/} ;;
    *) foreign= ;;
    esac
    case $foreign in .* | *[!A-Za-z0-9._-]*) foreign= ;; esac
    [ -h "$current" ] && [ ! -h "$root/releases/$foreign" ] || foreign=
}

# first_line FILE: sets `line`; empty when there is none.
first_line() {
    line=
    [ -r "$1" ] && [ -f "$1" ] && { IFS= read -r line <"$1" || true; }
}

# find_state ID: sets `state`. What pitcrew has no word of is foreign.
find_state() {
    first_line "$own/states/$1"
    case ${line%% *} in
    prepared | active | good | failed | reverted) state=${line%% *} ;;
    *) state=foreign ;;
    esac
}

# vouched ID: whether what pitcrew has no word of is a whole release: it serves, it is what another was switched from, or
# the log that every tool writes last says so. One that was killed half-way is in none of them.
history=unread
vouched() {
    [ "$1" != "$now_id" ] || return 0
    if [ "$history" = unread ]; then
        history=' '
        [ ! -f "$root/revisions.log" ] ||
            history=" $(sed -n 's/.*[Rr]elease \([0-9]\{14\}\).*/\1/p' "$root/revisions.log" 2>/dev/null | tr '\n' ' ')"
        if [ -f "$own/previous" ] && [ -r "$own/previous" ]; then
            while IFS= read -r line; do history="$history${line%% *} "; done <"$own/previous"
        fi
    fi
    case $history in *" $1 "*) return 0 ;; esac
    return 1
}

# pour TEXT: prints a line. A shell's own error does not tell a full disk from a broken one; that of `cat` does.
pour() {
    printf '%s\n' "$1" 2>/dev/null || printf '%s\n' "$1" | cat
}

# put FILE TEXT: writes a small file atomically; sets `error` and returns 1 when it cannot. What is not there yet is
# written where it is to be: there is no older text to read, and a rename is a process more.
put() {
    if [ ! -e "$1" ] && [ ! -h "$1" ]; then
        { printf '%s\n' "$2" >"$1"; } 2>/dev/null && return 0
        rm -f "$1" 2>/dev/null
    fi
    { printf '%s\n' "$2" >"$1.new.$$" && mv -f "$1.new.$$" "$1"; } 2>/dev/null && return 0
    error=$({ pour "$2" >"$1.new.$$" && mv -f "$1.new.$$" "$1"; } 2>&1) && return 0
    rm -f "$1.new.$$" 2>/dev/null
    return 1
}

# make_own: makes the directory of pitcrew's own files, for the login alone, or for the group that deploy_to is shared with by its
# setgid bit; sets `error` and returns 1 when it cannot.
# shellcheck disable=SC2174 # that directory is meant, and none above it
make_own() {
    [ ! -d "$own" ] || return 0
    rights=700
    [ ! -g "$root" ] || rights=2770
    error=$(mkdir -p -m "$rights" "$own" 2>&1)
}

# put_state ID STATE: the words are padded to one length, so that one is replaced by another where it stands, by one
# write that needs no room: neither a reader nor a full disk ever sees half of it.
put_state() {
    make_own || return 1
    [ -d "$own/states" ] || error=$(mkdir -p "$own/states" 2>&1) || return 1
    case $2 in
    ?????????*) put "$own/states/$1" "$2" ;;
    *) { printf '%-8s\n' "$2" 1<>"$own/states/$1"; } 2>/dev/null || put "$own/states/$1" "$2" ;;
    esac
}

# find_owner: sets `owner_run`, the token of the run that holds the lock.
find_owner() {
    owner_run=
    [ -f "$lock/owner" ] && [ -r "$lock/owner" ] || return 0
    while IFS= read -r line; do
        case $line in run=*) owner_run=${line#run=} ;; esac
    done <"$lock/owner"
}

# renewing: refuses unless this run holds the lock, and renews it.
renewing() {
    find_owner
    [ "$owner_run" = "$p_token" ] || fail lock_lost "the lock is held by ${owner_run:-no run}"
    true >"$lock/beat"
} 2>/dev/null

# holding: the same, and leaves word that this step has begun.
holding() {
    renewing
    step=$lock/step.$mark
    ended begun
}

# note WORDS…: writes into the journal what is about to change; sets `error` and returns 1 when it cannot.
note() {
    moment=${moment:-$(date +%s)}
    { printf '%s\n' "$moment $*" >>"$lock/journal"; } 2>/dev/null && return 0
    drop_half_line
    error=$({ pour "$moment $*" >>"$lock/journal"; } 2>&1) && return 0
    drop_half_line
    return 1
}
# drop_half_line: what a full disk cut off at the journal's end would take the next line with it.
drop_half_line() {
    [ -f "$lock/journal" ] && lines=$(wc -l <"$lock/journal") &&
        size=$(head -n "$((lines))" "$lock/journal" | wc -c) &&
        dd if=/dev/null of="$lock/journal" bs=1 seek="$((size))"
} 2>/dev/null

# clock: sets `now` to seconds of a clock that is never set, and `tenths` to tenths of seconds, in steps of `grain` of them.
clock() {
    now=
    { read -r now line </proc/uptime; } 2>/dev/null
    case $now in
    *.[0-9]*) line=${now#*.} now=${now%%.*} tenths=$now${line%"${line#?}"} grain=1 ;;
    *) now=$(date +%s) tenths=${now}0 grain=10 ;;
    esac
}

pause() { sleep 0.2 2>/dev/null || sleep 1; }
