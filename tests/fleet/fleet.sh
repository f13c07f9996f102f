#!/bin/bash
# fleet.sh - N separate servers on one machine, each with a real sshd, for as long as a command runs.
#
#   fleet.sh mode                  prints the best mode that works here (root, user, light), or `none` and why
#   fleet.sh with N DELAY -- CMD   runs CMD with servers 1..N up; DELAY in ms each way, 0 for none
#   fleet.sh exec I CMD...         inside: runs CMD in server I, as root where there is one
#   fleet.sh as I CMD...           inside: runs CMD in server I as its login user
#   fleet.sh boot I                inside, root only: one more server, which systemd runs; prints its line of `hosts`
#
# Two disks of 3 MB, /srv/small1 and /srv/small2, are there to be filled (not in light mode).
#
# root   net, mount, pid, ipc and uts namespaces per server, an overlay over /, user deploy, stock sshd with PAM
# user   the same without root: in a user namespace whose only user is called deploy
# light  no namespaces: sshds on loopback ports, a home directory each; files and ports are shared
#
# CMD finds in $FLEET_DIR: hosts (a line each: NAME ADDRESS PORT ROOT HOME; ROOT is where its / is seen from
# outside), id_ed25519, known_hosts, ssh_config, and FLEET_MODE in its environment.
# Everything lives in namespaces that end with the first process: after kill -9 no process, link, mount or file is left.
# (light has none; a process that waits for the end of the first one clears up.)
set -u
SELF=$(readlink -f "$0")
HERE=$(dirname "$SELF")
NET=10.77 # NET.0.1 is this machine, NET.1.I server I
PATH=$PATH:/usr/sbin:/sbin
CGROUPS=pitcrew-fleet-
INSIDE_PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin

die() { echo "fleet: $*" >&2; exit 1; }
addr() { echo "$NET.$((($1 - 1) / 200 + 1)).$((($1 - 1) % 200 + 1))"; }

# --- modes -----------------------------------------------------------------------------------------------------------

in_root() {
  unshare --net --mount --pid --ipc --uts --fork --kill-child --mount-proc --propagation private -- "$@"
}

in_user() {
  unshare --user --map-current-user --keep-caps --net --mount --pid --fork --kill-child --propagation private -- "$@"
}

# Tries what the mode will do, so that nothing is found out half-way.
# shellcheck disable=SC2016 # the snippets are for the inner shell
works() {
  { command -v sshd && command -v ssh-keygen; } >/dev/null || { why='openssh-server is not installed'; return 1; }
  case $1 in
  root)
    [ "$(id -u)" = 0 ] && { command -v ip && command -v pivot_root; } >/dev/null &&
      in_root sh -c 'mount -t tmpfs t /run && mkdir /run/u /run/w /run/m && ip link add fleetbr type bridge &&
        mount -t overlay o -o lowerdir=/,upperdir=/run/u,workdir=/run/w /run/m' >/dev/null 2>&1 ;;
  user)
    [ "$(id -u)" != 0 ] && command -v ip >/dev/null &&
      in_user sh -c 'mount -t tmpfs t /run && mount -t proc proc /proc && ip link add fleetbr type bridge' >/dev/null 2>&1 ;;
  light) command -v setpriv >/dev/null ;;
  *) die "unknown mode '$1'" ;;
  esac
}

mode() {
  local m why='no namespaces, and no setpriv (util-linux)'
  for m in ${FLEET_MODE:-root user light}; do works "$m" && { echo "$m"; return; }; done
  echo "none: $why"
}

# --- common ----------------------------------------------------------------------------------------------------------

client_files() { # ssh_config for people and scripts; pitcrew is given the key and known_hosts alone
  local name a p
  while read -r name a p _; do printf 'Host %s %s\n  HostName %s\n  Port %s\n' "$name" "$a" "$a" "$p"; done <"$FLEET_DIR/hosts"
  cat <<X
Host *
  User $1
  IdentityFile $FLEET_DIR/id_ed25519
  IdentitiesOnly yes
  UserKnownHostsFile $FLEET_DIR/known_hosts
  GlobalKnownHostsFile /dev/null
  StrictHostKeyChecking yes
  LogLevel ERROR
X
}

wait_for_banner() { # NAME ADDRESS PORT PID LOG
  local t
  for ((t = 0; t < 400; t++)); do
    timeout 2 bash -c "exec 3<>/dev/tcp/$2/$3; read -t 1 -r l <&3; [[ \$l == SSH-* ]]" 2>/dev/null && return
    kill -0 "$4" 2>/dev/null || die "$1 died: $(cat "$5")"
    sleep 0.05
  done
  die "$1 never answered: $(cat "$5")"
}

# --- namespaces ------------------------------------------------------------------------------------------------------

make_base() { # root: the layer between / and each server: users, keys, sshd's configuration
  local b=$FLEET_DIR/base
  mkdir -p "$b"/{etc/ssh/sshd_config.d,home/deploy/.ssh,srv/small{1,2},root,var/www}
  { grep -v '^deploy:' /etc/passwd; echo 'deploy:x:1500:1500::/home/deploy:/bin/bash'; } >"$b/etc/passwd"
  { grep -v '^deploy:' /etc/group; echo 'deploy:x:1500:'; } >"$b/etc/group"
  # '*' and not '!': without PAM sshd calls '!' a locked account and refuses its key.
  { grep -v '^deploy:' /etc/shadow; echo 'deploy:*:19000:0:99999:7:::'; } >"$b/etc/shadow"
  chgrp shadow "$b/etc/shadow" && chmod 640 "$b/etc/shadow"
  cp /etc/skel/.bashrc /etc/skel/.profile "$b/home/deploy/" 2>/dev/null
  cp "$FLEET_DIR/id_ed25519.pub" "$b/home/deploy/.ssh/authorized_keys"
  chmod 700 "$b/home/deploy/.ssh" "$b/root"
  chmod 600 "$b/home/deploy/.ssh/authorized_keys"
  chown -R 1500:1500 "$b/home/deploy" "$b/srv"
  cat >"$b/etc/ssh/sshd_config" <<'X'
Port 22
HostKey /etc/ssh/ssh_host_ed25519_key
PasswordAuthentication no
KbdInteractiveAuthentication no
PermitRootLogin no
AllowUsers deploy
UsePAM yes
X11Forwarding no
PrintMotd no
AcceptEnv LANG LC_*
Subsystem sftp /usr/lib/openssh/sftp-server
X
}

host_net() { # in the server: waits for its cable
  local t
  for ((t = 0; t < 1000; t++)); do ip link show eth0 >/dev/null 2>&1 && break; sleep 0.01; done
  printf 'link set lo up\naddr add %s/16 dev eth0\nlink set eth0 up\nroute add default via %s.0.1\n' "$(addr "$1")" "$NET" |
    ip -batch - || exit 1
}

host_root() { # process 1 of server $1, in its new namespaces, as root
  local i=$1 d h=$FLEET_DIR/h$1 r=$FLEET_DIR/h$1/root
  hostname "host$i" && host_net "$i"
  mount -t overlay "h$i" -o "lowerdir=$FLEET_DIR/base:/,upperdir=$h/up,workdir=$h/work" "$r" || exit 1
  mount -t proc proc "$r/proc"
  mount -t sysfs -o ro sys "$r/sys"
  mount --rbind /dev "$r/dev"
  mount -t devpts -o newinstance,ptmxmode=0666,mode=620,gid=5 devpts "$r/dev/pts"
  mount -t tmpfs -o mode=1777 tmp "$r/dev/shm"
  mount -t tmpfs -o mode=755 run "$r/run" && mkdir -p "$r/run/sshd" "$r/run/lock"
  mount -t tmpfs -o mode=1777 tmp "$r/tmp"
  for d in small1 small2; do mount -t tmpfs -o mode=755,uid=1500,gid=1500,size=3m $d "$r/srv/$d"; done
  cd "$r" && pivot_root . . && umount -l . && cd / || exit 1
  # sshd reaps orphans (it waits for any child), so it can serve as this server's process 1.
  exec env -i PATH="$INSIDE_PATH" LANG=C.UTF-8 /usr/sbin/sshd -D -E /var/log/sshd.log
}

host_user() { # process 1 of server $1, in its new namespaces, without root
  local i=$1 k d only='-all,+net_bind_service'
  hostname "host$i" && mount -t proc proc /proc && host_net "$i" || exit 1
  k=$(mktemp -d)
  cp "$FLEET_DIR/id_ed25519.pub" "$FLEET_DIR/keys/k$i" "$FLEET_DIR/passwd" "$k/"
  mount --bind "$k/passwd" /etc/passwd
  for d in /srv /home /run /var/log; do mount -t tmpfs -o mode=755 t "$d" || exit 1; done
  mkdir -p /home/deploy/.ssh /run/sshd /run/k /srv/small{1,2}
  for d in small1 small2; do mount -t tmpfs -o mode=755,size=3m $d /srv/$d; done
  cp "$k/id_ed25519.pub" /home/deploy/.ssh/authorized_keys
  cp "$k/k$i" /run/k/hostkey
  chmod 700 /home/deploy /home/deploy/.ssh
  chmod 600 /home/deploy/.ssh/authorized_keys /run/k/hostkey
  rm -rf "$k"
  mount -t tmpfs -o mode=1777 t /tmp
  cat >/run/k/sshd_config <<'X'
HostKey /run/k/hostkey
PidFile /run/k/pid
PasswordAuthentication no
KbdInteractiveAuthentication no
UsePAM no
Port 22
Subsystem sftp internal-sftp
X
  exec setpriv --inh-caps="$only" --ambient-caps="$only" --bounding-set=-all,+net_bind_service \
    env -i PATH=/usr/local/bin:/usr/bin:/bin LANG=C.UTF-8 /usr/sbin/sshd -D -f /run/k/sshd_config -E /var/log/sshd.log
}

host_booted() { # the nspawn of server $1, in its new namespaces: the same layers, but systemd is process 1
  local i=$1 h=$FLEET_DIR/h$1 at
  # A cgroup of its own in every hierarchy that systemd may use; --keep-unit makes it the server's root.
  for at in /sys/fs/cgroup /sys/fs/cgroup/systemd /sys/fs/cgroup/unified; do
    [ -e "$at/cgroup.procs" ] || continue
    mkdir "$at/$2" && echo $$ >"$at/$2/cgroup.procs" || exit 1
  done
  host_net "$i"
  mount -t overlay "h$i" -o "lowerdir=$FLEET_DIR/base:/,upperdir=$h/up,workdir=$h/work" "$h/root" || exit 1
  # None of this machine's units: those of /etc are hidden behind the server's own.
  exec env -i PATH="$INSIDE_PATH" SYSTEMD_NSPAWN_UNIFIED_HIERARCHY=1 SYSTEMD_NSPAWN_LOCK=0 systemd-nspawn --quiet --boot \
    --directory="$h/root" --register=no --keep-unit --link-journal=no --resolv-conf=off --timezone=off --console=pipe \
    --hostname="host$i" --bind="$h/units:/etc/systemd/system" -- systemd.unit=fleet.target
}

boot_host() { # I: boots one more server, and waits for its sshd
  local i=$1 h=$FLEET_DIR/h$1 up init cgroup
  cgroup=$CGROUPS$(cat /proc/sys/kernel/random/uuid)
  [ "$FLEET_MODE" = root ] || die "servers here have no root"
  command -v systemd-nspawn >/dev/null || die 'systemd-nspawn is not installed (systemd-container)'
  [ -e /lib/systemd/system/ssh.service ] || die 'there is no ssh.service'
  mkdir -p "$h"/{up/etc/ssh,work,root,units} "$FLEET_DIR/log"
  mkdir -p "$h"/up/{var/lib/systemd/linger,etc/sudoers.d,var/log/journal}
  : >"$h/up/var/lib/systemd/linger/deploy"
  echo 'deploy ALL=(root) NOPASSWD: /usr/bin/systemctl' >"$h/up/etc/sudoers.d/fleet"
  cat >"$h/units/fleet.target" <<'X'
[Unit]
Requires=basic.target dbus.socket
Wants=systemd-logind.service systemd-user-sessions.service ssh.service
After=basic.target
X
  ssh-keygen -q -t ed25519 -N '' -C "host$i" -f "$h/up/etc/ssh/ssh_host_ed25519_key" || exit 1
  unshare --net --mount --ipc --uts --propagation private -- bash "$SELF" _boot "$i" "$cgroup" >"$FLEET_DIR/log/$i" 2>&1 </dev/null &
  up=$!
  until [ "$(readlink /proc/$up/ns/net)" != "$(readlink /proc/$$/ns/net)" ]; do
    kill -0 $up 2>/dev/null || die "host$i: $(cat "$FLEET_DIR/log/$i")"
    sleep 0.01
  done
  ip link add "fleet$i" type veth peer name eth0 netns $up || die 'cannot make a link'
  ip link set "fleet$i" master fleetbr up || die 'cannot join the bridge'
  wait_for_banner "host$i" "$(addr "$i")" 22 $up "$FLEET_DIR/log/$i"
  init=$(cat "/proc/$up/task/$up/children")
  [ -n "$init" ] || die "host$i has no process 1"
  echo "$cgroup $up $init" >>"$FLEET_DIR/booted"
  echo "$(addr "$i") $(cut -d' ' -f1,2 "$h/up/etc/ssh/ssh_host_ed25519_key.pub")" >>"$FLEET_DIR/known_hosts"
  echo "host$i $(addr "$i") 22 /proc/${init%% *}/root /home/deploy" | tee -a "$FLEET_DIR/hosts"
}

# Of fleets that were killed and of this one; those in use cannot be removed.
sweep_cgroups() {
  find /sys/fs/cgroup -depth -mindepth 1 -type d -path "*/$CGROUPS*" -exec rmdir {} + 2>/dev/null
  true
}

end_booted() { # what systemd ran leaves empty cgroups, which no namespace takes along
  local cgroup pids t
  [ -s "$FLEET_DIR/booted" ] || return
  while read -r cgroup pids; do
    # shellcheck disable=SC2086
    kill -KILL $pids
    for ((t = 0; t < 100; t++)); do
      sweep_cgroups
      find /sys/fs/cgroup -mindepth 1 -maxdepth 2 -name "$cgroup" | grep -q . || break
      sleep 0.05
    done
  done <"$FLEET_DIR/booted"
}

start_hosts() { # N: processes first, cables next, then one wait for all
  local n=$1 i c t h pids=() ups=()
  mkdir -p "$FLEET_DIR/log"
  for ((i = 1; i <= n; i++)); do
    h=$FLEET_DIR/h$i
    if [ "$FLEET_MODE" = root ]; then
      mkdir -p "$h"/{up/etc/ssh,work,root}
      for t in '' .pub; do cp -p "$FLEET_DIR/keys/k$i$t" "$h/up/etc/ssh/ssh_host_ed25519_key$t"; done
      echo "host$i" >"$h/up/etc/hostname"
    fi
    unshare --net --mount --pid --ipc --uts --fork --kill-child --propagation private \
      -- bash "$SELF" _host "$i" >"$FLEET_DIR/log/$i" 2>&1 </dev/null &
    ups[i]=$!
  done
  for ((i = 1; i <= n; i++)); do
    # The file has no final newline, so `read` alone would call it a failure.
    until c=$(cat "/proc/${ups[i]}/task/${ups[i]}/children" 2>/dev/null) && [ -n "$c" ]; do
      kill -0 "${ups[i]}" 2>/dev/null || die "host$i: $(cat "$FLEET_DIR/log/$i")"
      sleep 0.01
    done
    pids[i]=${c% }
    echo "link add fleet$i type veth peer name eth0 netns ${pids[i]}"
    echo "link set fleet$i master fleetbr up"
  done >"$FLEET_DIR/links"
  ip -batch "$FLEET_DIR/links" || die 'cannot make the links'
  for ((i = 1; i <= n; i++)); do
    echo "host$i $(addr "$i") 22 /proc/${pids[i]}/root /home/deploy" >>"$FLEET_DIR/hosts"
    echo "$(addr "$i") $(cut -d' ' -f1,2 "$FLEET_DIR/keys/k$i.pub")" >>"$FLEET_DIR/known_hosts"
  done
  for ((i = 1; i <= n; i++)); do wait_for_banner "host$i" "$(addr "$i")" 22 "${pids[i]}" "$FLEET_DIR/log/$i"; done
}

bridge() { # DELAY: everything to and from the servers passes a delay line where one is asked for
  local port=fleetbr
  printf 'link set lo up\nlink add fleetbr type bridge\nlink set fleetbr up mtu 1500\n' | ip -batch - || die 'cannot make a bridge'
  if [ "${1%.*}" != 0 ]; then
    # A user-space delay line: sch_netem is missing from many kernels.
    cc -O2 -o "$FLEET_DIR/delaybox" "$HERE/delaybox.c" || die 'a delay needs a C compiler'
    "$FLEET_DIR/delaybox" fleetta fleettb "$(awk "BEGIN{print int($1*1000)}")" >"$FLEET_DIR/delaybox.log" 2>&1 </dev/null &
    until grep -qs ready "$FLEET_DIR/delaybox.log"; do
      kill -0 $! 2>/dev/null || die "delay line: $(cat "$FLEET_DIR/delaybox.log")"
      sleep 0.02
    done
    ip link set fleettb master fleetbr txqueuelen 20000 up
    ip link set fleetta txqueuelen 20000 up
    port=fleetta
  fi
  ip addr add "$NET.0.1/16" dev "$port"
}

main_namespaces() { # N DELAY CMD: process 1 of the fleet's own namespaces
  local n=$1 delay=$2 caps='-all,+net_admin,+sys_admin,+sys_ptrace,+sys_chroot,+net_bind_service'
  shift 2
  # A private /run: nothing to clean up, nothing to collide with.
  mount -t tmpfs -o mode=755,size=80%,nr_inodes=0 fleet /run && mkdir -p "$FLEET_DIR/keys" || exit 1
  if [ "$FLEET_MODE" = user ]; then
    mount -t proc proc /proc || exit 1
    { echo "deploy:x:$(id -u):$(id -g)::/home/deploy:/bin/bash"; grep -v '^deploy:' /etc/passwd; } >"$FLEET_DIR/passwd"
    # ssh and ssh-keygen refuse a uid that has no passwd entry.
    id -un >/dev/null 2>&1 || mount --bind "$FLEET_DIR/passwd" /etc/passwd
  fi
  ssh-keygen -q -t ed25519 -N '' -C fleet -f "$FLEET_DIR/id_ed25519" || exit 1
  seq 1 "$n" | xargs -P4 -I@ ssh-keygen -q -t ed25519 -N '' -C host@ -f "$FLEET_DIR/keys/k@" || exit 1
  [ "$FLEET_MODE" = root ] && make_base && sweep_cgroups
  bridge "$delay"
  start_hosts "$n"
  client_files deploy >"$FLEET_DIR/ssh_config"
  if [ "$FLEET_MODE" = root ]; then
    "$@"
    n=$?
    end_booted
    exit $n
  else
    # CMD may cut cables and enter servers, but file permissions still bind it.
    setpriv --inh-caps=$caps --ambient-caps=$caps --bounding-set=$caps "$@"
  fi
  exit $?
}

# --- loopback ports --------------------------------------------------------------------------------------------------

light_host() { # I: an sshd of this user on a free port; sets port and pid
  local h=$FLEET_DIR/h$1 try t
  mkdir -p "$h"/{home,tmp}
  ssh-keygen -q -t ed25519 -N '' -f "$h/hostkey" || exit 1
  for ((try = 0; try < 30; try++)); do
    port=$((20000 + RANDOM % 20000))
    rm -f "$h/sshd.pid"
    # SetEnv replaces HOME; ForceCommand starts in it, where sshd would start in the passwd entry's home.
    cat >"$h/sshd_config" <<X
ListenAddress 127.0.0.1
Port $port
HostKey $h/hostkey
PidFile $h/sshd.pid
AuthorizedKeysFile $FLEET_DIR/id_ed25519.pub
StrictModes no
UsePAM no
PasswordAuthentication no
KbdInteractiveAuthentication no
SetEnv HOME=$h/home TMPDIR=$h/tmp
ForceCommand cd "\$HOME"; if [ -n "\$SSH_ORIGINAL_COMMAND" ]; then exec /bin/bash -c "\$SSH_ORIGINAL_COMMAND"; else exec /bin/bash -l; fi
X
    "$(command -v sshd)" -D -f "$h/sshd_config" -E "$h/sshd.log" &
    pid=$!
    for ((t = 0; t < 200; t++)); do
      [ -s "$h/sshd.pid" ] && return
      kill -0 "$pid" 2>/dev/null || continue 2 # the port was taken
      sleep 0.02
    done
  done
  die "host$1: $(cat "$h/sshd.log")"
}

main_light() { # N DELAY CMD
  local n=$1 delay=$2 i port pid pids=()
  shift 2
  [ "${delay%.*}" = 0 ] || die 'no delay without namespaces'
  [ "$(id -u)" != 0 ] || mkdir -p /run/sshd
  FLEET_DIR=$(mktemp -d "${TMPDIR:-/tmp}/fleet.XXXXXX") || exit 1
  ssh-keygen -q -t ed25519 -N '' -C fleet -f "$FLEET_DIR/id_ed25519" || exit 1
  for ((i = 1; i <= n; i++)); do
    light_host "$i"
    pids[i]=$pid
    echo "host$i 127.0.0.1 $port $FLEET_DIR/h$i $FLEET_DIR/h$i/home" >>"$FLEET_DIR/hosts"
    echo "[127.0.0.1]:$port $(cut -d' ' -f1,2 "$FLEET_DIR/h$i/hostkey.pub")" >>"$FLEET_DIR/known_hosts"
  done
  client_files "$(id -un)" >"$FLEET_DIR/ssh_config"
  # No namespace ends with this process, so another one, in a session of its own, waits for that.
  # shellcheck disable=SC2016 # for the inner shell
  setsid sh -c 'dir=$1 main=$2; shift 2; tail --pid="$main" -f /dev/null; kill "$@"; rm -rf "$dir"' \
    fleet-end "$FLEET_DIR" $$ "${pids[@]}" >/dev/null 2>&1 </dev/null &
  setpriv --pdeathsig KILL -- "$@"
  exit $?
}

# --- entry -----------------------------------------------------------------------------------------------------------

enter() { # I: prints nothing; sets pid and home of server I
  local name root
  while read -r name _ _ root home; do
    [ "$name" = "host$1" ] && { pid=${root#/proc/} pid=${pid%/root}; return; }
  done <"$FLEET_DIR/hosts"
  die "no host$1"
}

run_in() { # root|user, I, CMD
  local as=$1 pid home; enter "$2"; shift 2
  case $FLEET_MODE in
  light) cd "$home" && exec env -i PATH="$INSIDE_PATH" HOME="$home" LANG=C.UTF-8 "$@" ;;
  root) if [ "$as" = root ]; then home=/root; else set -- setpriv --reuid 1500 --regid 1500 --clear-groups -- "$@"; fi ;;
  esac
  exec nsenter -t "$pid" --net --mount --pid --ipc --uts --wdns=/ -- \
    env -i PATH="$INSIDE_PATH" HOME="$home" LANG=C.UTF-8 "$@"
}

verb=${1:-}
shift || true
case $verb in
mode) mode ;;
with)
  if [ $# -lt 4 ] || [ "$3" != -- ]; then die 'usage: with N DELAY -- CMD...'; fi
  n=$1 delay=$2
  shift 3
  FLEET_MODE=$(mode)
  case $FLEET_MODE in none*) die "no fleet is possible here: ${FLEET_MODE#none: }" ;; esac
  export FLEET_MODE FLEET_DIR=/run/fleet
  case $FLEET_MODE in
  root) exec unshare --net --mount --pid --ipc --uts --fork --kill-child --mount-proc --propagation private \
    -- bash "$SELF" _main "$n" "$delay" "$@" ;;
  user) exec unshare --user --map-current-user --keep-caps --net --mount --pid --fork --kill-child --propagation private \
    -- bash "$SELF" _main "$n" "$delay" "$@" ;;
  light) main_light "$n" "$delay" "$@" ;;
  esac ;;
_main) main_namespaces "$@" ;;
_host) "host_$FLEET_MODE" "$1" ;;
boot) boot_host "$1" ;;
_boot) host_booted "$@" ;;
exec) run_in root "$@" ;;
as) run_in login "$@" ;;
*) sed -n '2,/^set -u/p' "$SELF" | sed '$d' >&2; exit 2 ;;
esac
