# Passes one line of commands on to HAProxy's socket, and its answer back: for hosts whose sshd opens no sockets, and for
# sockets that are root's. What comes before sets `nonce`, the socket's p_path, the same as socat's p_address, p_line,
# p_limit in seconds, and p_sudo, empty or not.
PATH=${PATH:-/usr/local/bin:/usr/bin:/bin}:/usr/local/sbin:/usr/sbin:/sbin LC_ALL=C
export PATH LC_ALL
# end WORD [TEXT]: the answer, on a line of its own, and the last.
end() {
    printf '\n@pitcrew:%s %s\n' "${nonce?}" "$*"
    exit 0
}
as() {
    if [ -n "${p_sudo?}" ]; then sudo -n "$@"; else "$@"; fi
}
[ "$(id -u)" != 0 ] || p_sudo=
socket=${p_path?}
if [ -n "$p_sudo" ]; then
    command -v sudo >/dev/null || end no-sudo
else
    dir=${socket%/*}
    [ -x "${dir:-/}" ] || ! [ -d "${dir:-/}" ] || end hidden "${dir:-/}"
    [ -e "$socket" ] || end missing
    [ -S "$socket" ] || end no-socket
    # shellcheck disable=SC2012
    [ -w "$socket" ] || end denied "$(ls -ld "$socket" | tr -s ' ' | cut -d ' ' -f 1,3,4)"
fi
# Both wait for the whole answer after the line has been sent, and for no longer than the limit.
if tool=$(command -v socat); then
    set -- -t "${p_limit?}" -T "$p_limit" - "UNIX-CONNECT:${p_address?}"
elif tool=$(command -v nc) && nc -h 2>&1 | grep -q -e '-[A-Za-z46]*U'; then
    set -- -w "${p_limit?}" -U "$socket"
else
    end no-tool
fi
# What a login shell had to say came before this.
printf '\n@pitcrew:%s begin\n' "$nonce"
printf '%s\n' "${p_line?}" | as "$tool" "$@"
end ran "$? $tool $*"
