# Connects standard input and output to a port of this server's own loopback, where sshd forwards nothing; $1 is the port.
# It is sent as one line in single quotes: there are none in it, and each command ends with a semicolon.
if command -v bash >/dev/null 2>&1; then
    exec bash -c "{ exec 3<>/dev/tcp/127.0.0.1/$1; } 2>/dev/null || exec 3<>/dev/tcp/::1/$1 || exit 1; cat <&3 & exec cat >&3";
fi;
if command -v nc >/dev/null 2>&1; then exec nc localhost "$1"; fi;
if command -v socat >/dev/null 2>&1; then exec socat - "TCP:localhost:$1"; fi;
echo "sshd forwards no connection (AllowTcpForwarding), and there is neither bash nor nc nor socat" >&2;
exit 127
