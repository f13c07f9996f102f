# Downloads an archive, proves that it is the one that was meant, and makes a release of it.
holding
receive
archive=$own/archive.$p_id
cleanup() { rm -rf "$incoming" "$archive"; }

# get: downloads, with the user's environment (proxies, certificates). The URL may be signed: it goes where no process list shows it.
get() {
    LC_ALL=C
    export LC_ALL
    url=$PITCREW_ARCHIVE_URL
    unset PITCREW_ARCHIVE_URL
    only='=https,http'
    case $url in https:*) only='=https' ;; esac
    if command -v curl >/dev/null 2>&1; then
        # What says how long it is, and is longer than there is room for, is not begun.
        most=
        [ -z "$free_kb" ] || most="max-filesize = $((free_kb * 1024))"
        printf '%s\nurl = "%s"\n' "$most" "$url" |
            curl --config - --fail --silent --show-error --globoff --location --max-redirs 5 --proto "$only" \
                --connect-timeout 30 --speed-limit 1 --speed-time 60 --retry 3 --output "$archive"
        return
    fi
    case $(wget --version 2>/dev/null) in
    *GNU*) printf '%s\n' "$url" | wget -nv -i - -O "$archive" --timeout=60 --tries=3 --max-redirect=5 ;;
    *)
        if [ -n "$p_secret" ]; then
            echo "curl or GNU wget is needed: this server's wget shows the URL in the process list"
            return 1
        fi
        wget -q -T 60 -O "$archive" "$url"
        ;;
    esac
}
find_disk "$own"
error=$(as_user get 2>&1)
case $? in
0) ;;
63) fail no_space "the archive is larger than the $free_kb KB that are free on $mount" ;;
*)
    # Some tools do not say that it is the disk; what they have brought still lies there.
    find_disk "$own"
    if [ "${free_kb:-64}" -lt 64 ] || [ "${free_inodes:-1}" -lt 1 ]; then error="No space left: $error"; fi
    refuse not_downloaded "${error:-the download failed}"
    ;;
esac
if command -v sha256sum >/dev/null 2>&1; then
    sum=$(sha256sum <"$archive")
else
    sum=$(shasum -a 256 <"$archive")
fi
[ "${sum%% *}" = "$p_sha256" ] || fail bad_checksum "its SHA-256 is ${sum%% *}, expected $p_sha256"

# Room for what comes out of it, and for as much again when the archive itself is gone, as with what is sent. Of zstd none
# tells without unpacking; of gzip the last four bytes do, modulo 4 GiB.
size=$(($(wc -c <"$archive") / 1024))
kb=$size
if [ "$(od -A n -t x1 -N 2 "$archive" | tr -d ' \n')" = 1f8b ]; then
    # shellcheck disable=SC2046 # four numbers
    set -- $(tail -c 4 "$archive" | od -A n -t u1)
    kb=$(((${1:-0} + 256 * (${2:-0} + 256 * (${3:-0} + 256 * ${4:-0}))) / 1024))
    [ "$kb" -ge "$size" ] || kb=$size
fi
least=$((kb * 2 - size))
[ "$least" -ge "$kb" ] || least=$kb
needs "$least" 8 "for what is in the archive, and for the build"

# unpack: says on descriptor 3 how tar ended, and how zstd did. -o: files belong to the login user, also when that is root.
unpack() {
    case $(od -A n -t x1 -N 4 "$archive" | tr -d ' \n') in
    28b52ffd | 5?2a4d18)
        command -v zstd >/dev/null 2>&1 || echo "zstd is not installed; pack the archive with gzip, or write fetch = \"here\""
        {
            zstd -dcq <"$archive" 3>&-
            echo "unzipped $?" >&3
        } | {
            tar -xof - -C "$incoming" 3>&-
            echo "unpacked $?" >&3
            cat >/dev/null
        }
        return
        ;;
    1f8b*) tar -xzof "$archive" -C "$incoming" 3>&- ;;
    *) tar -xof "$archive" -C "$incoming" 3>&- ;;
    esac
    echo "unpacked $?" >&3
    echo "unzipped 0" >&3
}
report=$({ unpack 2>&1 | tail -n 6 >&3; } 3>&1)
for done in "unzipped 0" "unpacked 0"; do
    case $nl$report$nl in *"$nl$done$nl"*) ;; *) refuse bad_payload "$report" ;; esac
done
rm -f "$archive"
[ -n "$(ls -A "$incoming")" ] || fail bad_payload "the archive holds nothing"
keep
