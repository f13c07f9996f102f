# Tells everything that a plan depends on. Changes nothing, creates nothing.
before=''
say root "$root"
say user "${LOGNAME:-$(id -un 2>/dev/null || id -u)}"
epoch=$(date +%s)
say time "$epoch"

# What cannot be seen is not taken for "nothing": a lock, say.
if [ -d "$own" ] && { [ ! -r "$own" ] || [ ! -x "$own" ]; }; then
    # shellcheck disable=SC2012 # a name of ours
    holder=$(ls -ld "$own" 2>/dev/null | { read -r _ _ holder _ && echo "$holder"; })
    fail not_writable "no permission to look into $own, which is for $holder alone: log in as that user ([ssh] user)"
fi
find_current
[ -n "$now_id" ] && say current "$now_id"
if [ -n "$odd" ]; then
    say odd "$odd"
    find_foreign
    if [ -n "$foreign" ]; then
        first_line "$root/releases/$foreign/REVISION"
        say adopts "$foreign" "$line"
    fi
fi
[ -n "$gone" ] && say gone "$gone"
first_line "$own/stack"
[ -z "$line" ] || say stack "$line"
first_line "$own/previous"
line=${line%% *}
[ -n "$line" ] && say previous "$line"
first_line "$own/unbuilt"
[ -z "$line" ] || say unbuilt "$line"
first_line "$own/behind"
[ -n "$line" ] && say behind "$line"
# How the run found it that left it out: its journal tells.
case $line in *' drained') tell_lines found "$own/journal" ;; esac
first_line "$own/drained"
[ -n "$line" ] && say drained "$line"

# Where it can be reached: what a balancer calls by this server's name may be another.
if [ -n "${p_addresses-}" ]; then
    # shellcheck disable=SC2086 # three of its words are a port, a port and an address
    set -- ${SSH_CONNECTION-}
    [ -z "${3-}" ] || say address "$3"
    told=$(hostname -I 2>/dev/null </dev/null) ||
        told=$(ip -o addr show 2>/dev/null | sed -n 's,.* inet6\{0,1\} \([0-9a-fA-F.:]*\).*,\1,p')
    for address in $told; do say address "$address"; done
    set --
fi

unknown=0
for dir in "$root"/releases/* "$root"/releases/.[!.]*; do
    id=${dir##*/}
    [ -e "$dir" ] || [ -h "$dir" ] || continue
    if ! is_release "$id" || [ ! -d "$dir" ] || [ -h "$dir" ]; then
        unknown=$((unknown + 1))
        continue
    fi
    # To rename a directory away takes the right to write in it.
    [ -w "$dir" ] || say leftover "releases/$id"
    find_state "$id"
    [ "$state" != foreign ] || vouched "$id" || state=unfinished
    first_line "$dir/REVISION"
    say release "$id" "$state" "$line"
done
say unknown "$unknown"
# What a prune could not remove.
for dir in "$own"/trash "$own"/trash.*; do
    [ ! -e "$dir" ] || say leftover ".pitcrew/${dir##*/}"
done
for dir in "$own"/cache/*; do
    id=${dir##*/}
    case $id in *[!0-9a-f]*) continue ;; esac
    if [ "${#id}" != 64 ] || [ ! -d "$dir/tree" ]; then continue; fi
    first_line "$dir/kb"
    say cache "$id" "$line"
done

if [ -d "$lock" ]; then
    tell_lock
    tell_lines plan "$lock/plan"
    tell_lines journal "$lock/journal"
fi

# open_to_all FILE: tells whether every user there may read it, by way of all the directories above it.
open_to_all() {
    case $(ls -ldLn "$1" 2>/dev/null) in -??????r*) ;; *) return 1 ;; esac
    above=$1
    while above=${above%/*} && [ -n "$above" ]; do
        case $(ls -ldLn "$above" 2>/dev/null) in ?????????[xt]*) ;; *) return 1 ;; esac
    done
}

# Where others than the login and root may write: what lies there runs as the login.
set --
for dir in "$root" "$root/releases" "$root/shared" "$own" "$own/scripts"; do [ ! -d "$dir" ] || set -- "$@" "$dir/."; done
# shellcheck disable=SC2012
[ $# = 0 ] || ls -ldn "$@" 2>/dev/null | while read -r rights _ owner _ _ _ _ _ dir; do
    name=${dir%/.}
    name=${name#"$root"}
    name=${name#/}
    case $rights in ????????w[!tT]*) say exposed everyone "${name:-.}" ;; esac
    [ "$owner" = 0 ] || [ -O "$dir" ] || say exposed "$owner" "${name:-.}"
done
set --

# Space, and whether it can be written: asked of the nearest directory that exists, without writing.
near=$root
while [ ! -e "$near" ] && [ ! -h "$near" ]; do
    near=${near%/*}
    [ -n "$near" ] || near=/
done
# Two servers that tell the same are one directory.
first_line /proc/sys/kernel/random/boot_id
if [ -n "$line" ] && place=$(stat -L -c %d:%i "$near" 2>/dev/null); then say place "$line:$place:${root#"$near"}"; fi
# Releases, and what belongs to pitcrew, may lie on disks of their own: the fullest one counts.
set -- "$near"
for dir in "$root/releases" "$own"; do [ ! -d "$dir" ] || set -- "$@" "$dir"; done
find_disk "$@"
[ -z "$free_kb" ] || { say free_kb "$free_kb" && say mounted "$mount"; }
[ -z "$free_inodes" ] || say free_inodes "$free_inodes"
blocked=
# The mount point above `near` tells: shells call a read-only place a forbidden one, and for root a good one.
[ "$fullest" = "$near" ] || mounted "$near"
case ,$mode, in *,ro,*) blocked="the file system at $best is read-only" ;; esac
set --
if [ -n "${p_measure-}" ] && [ -n "$now_id" ]; then
    kb=$(du -skx "$root/releases/$now_id" 2>/dev/null)
    kb=${kb%%[!0-9]*}
    [ -z "$kb" ] || say current_kb "$kb"
fi
for dir in "$near" "$root/releases" "$root/shared" "$own" "$own/states"; do
    [ -z "$blocked" ] || break
    [ -e "$dir" ] || [ -h "$dir" ] || continue
    if [ "$dir" = "$root/releases" ] && [ -h "$dir" ]; then
        # Links out of a release are relative, and what runs in one is known by its path.
        blocked="$dir is a symbolic link; releases on another disk need a mount, or a bind mount, at that place"
    elif [ ! -d "$dir" ]; then
        blocked="$dir is not a directory"
    elif [ ! -w "$dir" ] || [ ! -x "$dir" ]; then
        blocked="no permission to write in $dir"
    fi
done
[ -n "$blocked" ] && say not_writable "$blocked"

eval "set -- $p_files"
for file; do
    [ -e "$root/shared/$file" ] || say missing_file "$file"
    # What holds a secret, as its name tells.
    case /$file in
    */.env* | *.key | *.pem | *secret* | *credential* | *password* | *token* | */database.y*ml | */.pgpass | */.netrc)
        ! open_to_all "$root/shared/$file" || say readable "shared/$file"
        ;;
    esac
done

missing() {
    for tool; do
        case $tool in
        'curl or wget') { command -v curl || command -v wget; } >/dev/null 2>&1 || echo "$tool" ;;
        'curl or GNU wget')
            # Other kinds take a URL as an argument alone, where every user can see it.
            command -v curl >/dev/null 2>&1 || case $(wget --version 2>/dev/null) in *GNU*) ;; *) echo "$tool" ;; esac
            ;;
        'sha256sum or shasum') { command -v sha256sum || command -v shasum; } >/dev/null 2>&1 || echo "$tool" ;;
        *) command -v "$tool" >/dev/null 2>&1 || echo "$tool" ;;
        esac
    done
}
eval "set -- $p_tools"
# shellcheck disable=SC2030 # of the user's own PATH nothing is to be left
lacking=$(missing cat date df gzip id ln ls mkdir mv readlink rm sed sleep tail tar tr; [ $# = 0 ] || as_this_user missing "$@")
set -f
IFS=$nl
# shellcheck disable=SC2086
set -- $lacking
unset IFS
set +f
for tool; do say missing_tool "$tool"; done
command -v zstd >/dev/null 2>&1 && say zstd yes
# With one of these it does not matter what `mv` can do, and it need not be tried.
if ! { command -v perl || command -v python3 || command -v ruby; } >/dev/null 2>&1; then
    case $(mv -T "$own/no/such" "$own/no/place" 2>&1) in
    *nvalid\ option* | *nrecognized\ option* | *llegal\ option* | *nknown\ option*)
        case $(mv -h "$own/no/such" "$own/no/place" 2>&1) in
        *nvalid\ option* | *nrecognized\ option* | *llegal\ option* | *nknown\ option*) say missing_tool "mv -T" ;;
        esac
        ;;
    esac
fi

# find_listener PORT: sets `listener` to the user whose process listens there on the loopback, and where this login may look
# into it, to its pid, its place as `locate` tells it, and its name.
find_listener() {
    listener=''
    hex=$(printf '%04X' "$1")
    loopback='(00000000|0100007F|0{32}|0{24}01000000|0{16}FFFF00000100007F)'
    row=$(grep -hE -m 1 " $loopback:$hex [0-9A-F]+:0000 0A " /proc/net/tcp /proc/net/tcp6 2>/dev/null | head -n 1)
    # shellcheck disable=SC2086
    set -- $row
    [ $# -ge 10 ] || return 0
    uid=$8 inode=${10} pid=''
    listener=$uid
    while IFS=: read -r name _ number _; do
        if [ "$number" = "$uid" ]; then
            listener=$name
            break
        fi
    done </etc/passwd
    # shellcheck disable=SC2010
    holders=$(ls -l /proc/[0-9]*/fd 2>/dev/null | grep -F -e /fd: -e "socket:[$inode]")
    set -f
    IFS=$nl
    for line in $holders; do
        case $line in
        /proc/*/fd:)
            at=${line#/proc/}
            at=${at%%/*}
            ;;
        *)
            pid=$at
            break
            ;;
        esac
    done
    unset IFS
    set +f
    [ -n "$pid" ] || return 0
    locate "$pid"
    first_line "/proc/$pid/comm"
    [ -z "$places" ] || listener="$listener $pid ${places##*:} $line"
} 2>/dev/null

# supervised PID: warns of a unit of systemd whose main process this is, or the shell that started it: the unit would start another
# one as soon as that ends.
supervised() {
    while IFS= read -r line; do
        unit=${line##*/} asking=''
        case $unit in
        user@*.service | ssh*.service | dropbear*.service | cron*.service | atd.service | supervisor*.service) continue ;;
        *.service) ;;
        *) continue ;;
        esac
        case $line in */user@*.service/*) asking=--user && export XDG_RUNTIME_DIR="${XDG_RUNTIME_DIR:-/run/user/$(id -u)}" ;; esac
        # shellcheck disable=SC2086
        main=$(systemctl $asking show -p MainPID "$unit" 2>/dev/null)
        main=${main#MainPID=}
        case " $1 $main " in
        *' 0 '*) continue ;;
        " $1  " | " $1 $1 ") ;;
        *) children "$main" | grep -q -x -e "$1" || continue ;;
        esac
        warns "process $1 is run by $unit, which starts another one when it ends: use web_server = \"systemd\", with unit = \"${unit%.service}\" in [web]"
        return 0
    done <"/proc/$1/cgroup"
} 2>/dev/null

if [ -r /proc/self/stat ]; then
    wanted_release=$now_id
    look
    set --
    for id in $ids; do set -- "$@" "${id%%:*}"; done
    trace "$@"
    for id in $ids; do
        # A process that comes from another release is not of the one that it works in.
        place=${id##*:}
        case $traces in *" ${id%%:*} ("*) place=${traces#*" ${id%%:*} ("} place=${place%%)*} place=${place##* } ;; esac
        # Whose a hidden one is, everyone may know.
        [ "$place" != hidden ] || place="hidden $(owner_of "${id%%:*}")"
        say process "${id%%:*}" "$place"
    done
    set --
    # Nothing runs where [web] says; what listens on the port of the health check is the next thing to know.
    if [ -z "$masters" ] && [ -n "${p_port-}" ]; then
        find_listener "$p_port"
        [ -z "$listener" ] || say listens "$p_port $listener"
    fi
    if [ -n "${s_facts-}" ]; then
        # What a restart would hand on may come from any release, the running one too.
        wanted_release=
        told=$(web_facts 2>/dev/null)
        printf '%s\n' "$told" | while IFS= read -r fact; do
            case $fact in 'interrupts '* | 'refuses '* | 'lacks '* | 'warns '*) say fact "$fact" ;; esac
        done
    fi
else
    say no_proc yes
fi
finish
