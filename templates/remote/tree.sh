# A tree of files: told in the same bytes as pitcrew tells it, compared by their digest, copied and unpacked.

# can_list: whether this server has what `list` takes; asked of the tools themselves, since not every `sort` knows `-z`.
can_list() {
    command -v sha256sum >/dev/null 2>&1 || return 1
    case $(find / -prune -print0 2>/dev/null | sort -z 2>/dev/null | xargs -0 stat -c %f 2>/dev/null) in
    4???) return 0 ;;
    esac
    return 1
}

# shape TREE INTO: the names below TREE, NUL after each, in INTO/names; their types and permissions in INTO/modes, in
# hexadecimal. Set-uid, set-gid and sticky bits do not count: directories inherit them.
shape() (
    cd "$1" || exit 1
    find . ! -name . -print0 | sort -z >"$2/names" || exit 1
    xargs -0 stat -c %f <"$2/names" | sed -e 's/^\(.\)[13579bdf]/\11/' -e 's/^\(.\)[02468ace]/\10/' >"$2/modes"
)

# list TREE INTO: the same, and INTO/content: a SHA-256 for each file, then where each link leads, NUL after each.
# Of what sha256sum prints only digests are looked at: tools do not agree how to print odd names.
# shellcheck disable=SC2016 # it is for the inner shell
list() (
    shape "$1" "$2" || exit 1
    cd "$1" || exit 1
    {
        find . -type f -print0 | sort -z | xargs -0 sha256sum | sed -n 's/^\\\{0,1\}\([0-9a-f]\{64\}\) .*/\1/p'
        find . -type l -print0 | sort -z |
            xargs -0 sh -c 'for link; do readlink -n "$link" && printf "\\000"; done' links
    } >"$2/content"
)

# sum FILE…: sets `sum`, the digest of several files one after another.
sum() {
    sum=$(cat "$@" | sha256sum)
    sum=${sum%% *}
} 2>/dev/null

# types FILE: modes without the permissions: what a file system that keeps none has in common with the others.
types() { sed 's/^\(.\).*/\1/' "$1"; }

# copy FROM TO: a whole tree, which shares its blocks where the file system can; sets `error`.
copy() {
    error=$(cp -a --reflink=auto "$1" "$2" 2>&1) && return 0
    case $error in *option*) ;; *) return 1 ;; esac
    rm -rf "$2"
    error=$(cp -pPR "$1" "$2" 2>&1)
}

# unzip: from standard input to standard output.
unzip() {
    if [ "$p_format" = zstd ]; then zstd -dcq; else gzip -dc; fi
}

# unpack INTO: says on descriptor 3 how tar ended, and how zstd did: a pipeline alone tells only of its last command.
# -o: files belong to the login user, also when that is root. GNU tar reads 64 KiB at a time then, not 10.
unpack() {
    TAR_OPTIONS=-b128
    export TAR_OPTIONS
    if [ "$p_format" = zstd ]; then
        {
            zstd -dcq 3>&-
            echo "unzipped $?" >&3
        } | {
            tar -xof - -C "$1" 3>&-
            echo "unpacked $?" >&3
            # A tar that stops at the archive's end must not end zstd by a broken pipe.
            IFS= read -r line && cat >/dev/null
        }
    else
        tar -xzof - -C "$1" 3>&-
        echo "unpacked $?" >&3
        echo "unzipped 0" >&3
    fi
}

# last_lines: the last six lines, without a process: there are none when all goes well.
last_lines() {
    kept='' count=0
    while IFS= read -r line || [ -n "$line" ]; do
        kept=$kept$line$nl
        count=$((count + 1))
        [ "$count" -lt 200 ] || exec tail -n 6
        [ "$count" -le 6 ] || kept=${kept#*"$nl"}
    done
    printf '%s' "$kept"
}

# unpacked INTO: unpacks standard input; sets `report` and returns 1 when it cannot.
unpacked() {
    report=$({ unpack "$1" 2>&1 | last_lines >&3; } 3>&1)
    # What is left unread must not keep the sender waiting.
    IFS= read -r line && cat >/dev/null
    for done in "unzipped 0" "unpacked 0"; do
        case $nl$report$nl in *"$nl$done$nl"*) ;; *) return 1 ;; esac
    done
}
