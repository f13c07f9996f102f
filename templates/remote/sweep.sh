# Removing releases: only whole ones, and never one that a process comes from.

# find_used: sets `used` to the releases that processes which this login may see work in, run, name, or have open or mapped.
find_used() {
    used=
    # shellcheck disable=SC2010 # names of ours
    listing=$(
        {
            ls -ln /proc/[0-9]*/cwd /proc/[0-9]*/exe /proc/[0-9]*/fd
            cat /proc/[0-9]*/maps
            cat /proc/[0-9]*/cmdline /proc/[0-9]*/environ | tr '\000' '\n'
        } 2>/dev/null | grep -F -e "$root/releases/" -e "$real/releases/"
    )
    set -f
    IFS=$nl
    for entry in $listing; do
        for place in "$root" "$real"; do
            while case $entry in *"$place"/releases/*) true ;; *) false ;; esac do
                entry=${entry#*"$place"/releases/}
                named=${entry%"${entry#??????????????}"}
                case $used in *" $named "*) ;; *) used="$used $named " ;; esac
            done
        done
    done
    unset IFS
    set +f
}

# begun ID: sets `seconds` to when a release's id says that it was made, in seconds since 1970.
begun() {
    # Days of the civil calendar, with the year beginning in March. A leading 1 keeps digits from being taken for octal.
    rest=${1#????}
    year=$((${1%"$rest"})) month=$((1${rest%"${rest#??}"} - 100))
    rest=${rest#??}
    day=$((1${rest%"${rest#??}"} - 100))
    rest=${rest#??}
    seconds=$(((1${rest%"${rest#??}"} - 100) * 3600))
    rest=${rest#??}
    seconds=$((seconds + (1${rest%"${rest#??}"} - 100) * 60 + 1${rest#??} - 100))
    [ "$month" -gt 2 ] || month=$((month + 12)) year=$((year - 1))
    seconds=$((seconds + ((year * 365 + year / 4 - year / 100 + year / 400 + (153 * (month - 3) + 2) / 5 + day - 1) - 719468) * 86400))
}

# find_hidden: sets `hidden` to words `pid:seconds`: processes of other users that this login may not look into, and when they
# began. Kernel threads are none of them: they have no command line. Root's count by their command lines alone, which
# `find_used` reads: some daemon of root's, this very session's sshd for one, began in the time of every release.
find_hidden() {
    hidden='' booted='' blank=$(printf ' \t')
    while IFS=' ' read -r name value; do
        case $name in btime) booted=$value ;; esac
    done </proc/stat
    case $booted in '' | *[!0-9]*) return 0 ;; esac
    for dir in /proc/[0-9]*; do
        # Opening its map takes the same right as reading its working directory.
        { true <"$dir/maps"; } 2>/dev/null && continue
        name=
        { IFS= read -r name <"$dir/cmdline" || [ -n "$name" ]; } 2>/dev/null || continue
        # A login's own sshd, and what PAM left for it, hide themselves and come from no release.
        case $name in 'sshd: '* | 'sshd-session: '* | '(sd-pam)'*) continue ;; esac
        uid=
        { while IFS="$blank" read -r name uid gone; do [ "$name" != Uid: ] || break; done <"$dir/status"; } 2>/dev/null || continue
        [ "$uid" != 0 ] || continue
        { IFS= read -r stat <"$dir/stat"; } 2>/dev/null || continue
        # shellcheck disable=SC2086
        set -- ${stat##*) }
        [ $# -ge 20 ] || continue
        # Linux tells it in hundredths of a second, whatever its own clock's rate.
        hidden="$hidden ${dir#/proc/}:$((booted + ${20} / 100))"
    done
    set --
}

# suspect ID UNTIL: sets `who` to a process that this login may not look into and that began while the release was or could be
# the current one. UNTIL is the id of the second newer release: what began later began in that, or later.
suspect() {
    who=
    begun "$1"
    from=$seconds
    begun "$2"
    for word in $hidden; do
        at=${word#*:}
        [ "$at" -lt "$from" ] || [ "$at" -ge "$seconds" ] || who=${word%%:*}
    done
    [ -n "$who" ]
}

# discard ID: removes a release. It is renamed away first, so that half of one is never taken for a release, to a place of its
# own: what cannot be removed there is in the way of no other. No directory is made to put it in: that takes an inode, and a
# full disk may have none.
discard() {
    error=$(mv "$root/releases/$1" "$own/trash.$1" 2>&1) || return 1
    error=$(rm -rf "$own/states/$1" "$own/trash.$1" 2>&1) || burn "$own/trash.$1"
}

# burn DIRECTORY: sets `error` and returns 1 when something in it cannot be removed.
burn() {
    error=$(rm -rf "$1" 2>&1) && return 0
    # Some tools leave directories that even their owner may not write in.
    chmod -R u+rwX "$1" 2>/dev/null
    error=$(rm -rf "$1" 2>&1 | tail -n 1)
    [ ! -e "$1" ]
}
