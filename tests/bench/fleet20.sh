#!/bin/bash
# fleet20.sh [HOSTS] [DELAY_MS] [ROUNDS] - the same deploy by pitcrew, by xargs + ssh, and by Ansible, measured side by
# side in one run on separate hosts of this machine. Root. PITCREW names the program (default: target/dist/pitcrew);
# Ansible is measured when `ansible-playbook` is on the PATH. Prints medians, ratios and one line of JSON.
set -eu
here=$(cd "$(dirname "$(readlink -f "$0")")" && pwd)
top=$(cd "$here/../.." && pwd)
if [ "${1:-}" != _inside ]; then
    PITCREW=$(readlink -f "${PITCREW:-$top/target/dist/pitcrew}")
    [ -x "$PITCREW" ] || { echo "fleet20: no $PITCREW: cargo build --profile dist, or set PITCREW" >&2; exit 2; }
    export PITCREW ROUNDS=${3:-5}
    exec "$top/tests/fleet/fleet.sh" with "${1:-20}" "${2:-0}" -- "$0" _inside
fi

work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
cd "$work"
export HOME=$work XDG_STATE_HOME=$work/state
mapfile -t hosts < <(awk "{print \$2}" "$FLEET_DIR/hosts")
printf "%s\n" "${hosts[@]}" >hosts
n=${#hosts[@]}

# 500 files, 5 MB, that compress as source code does.
python3 - <<'P'
import os, random
random.seed(7)
words = [''.join(random.choices('abcdefghijklmnopqrstuvwxyz_', k=random.randint(2, 9))) for _ in range(3000)]
for i in range(500):
    path = f"rel/d{i % 25}/f{i}.rb"
    os.makedirs(os.path.dirname(path), exist_ok=True)
    out = []
    size = 0
    while size < 10500:
        line = '  ' * random.randint(0, 4) + ' '.join(random.choices(words, k=random.randint(2, 9)))
        out.append(line)
        size += len(line) + 1
    open(path, 'w').write('\n'.join(out))
os.makedirs('rel/tmp', exist_ok=True)
P
echo bench >rel/REVISION
tar -C rel -czf rel.tar.gz .
cat >touch.toml <<'T'
name = "touch"
about = "a restart that is a touched file"
strategy = "parallel"
tools = []
[scripts]
processes = "true"
start = 'mkdir -p "$current/tmp" && touch "$current/tmp/restart.txt"'
restart = 'touch "$current/tmp/restart.txt"'
stop = "true"
log = "true"
[proof]
lazy = true
T
{
    cat <<T
[app]
name = "bench"
deploy_to = "/srv/pitcrew"
web_server = "./touch.toml"
[source]
kind = "archive"
path = "rel.tar.gz"
[ssh]
user = "deploy"
identity_file = "$FLEET_DIR/id_ed25519"
known_hosts = "$FLEET_DIR/known_hosts"
[health]
command = "test -e tmp/restart.txt"
successes = 1
T
    for h in "${hosts[@]}"; do printf '[[servers]]\nhost = "%s"\n' "$h"; done
} >pitcrew.toml

# shellcheck disable=SC2016 # expanded on the hosts
one='set -e; a=/srv/xargs; id=$(date +%Y%m%d%H%M%S%N); mkdir -p $a/releases/$id; tar -xzf - -C $a/releases/$id; ln -s releases/$id $a/current.$id; mv -T $a/current.$id $a/current; touch $a/current/tmp/restart.txt; cd $a/releases; ls -1 | head -n -5 | xargs -r rm -rf'
printf '%s\n' "$one" >script
cat >xargs.sh <<'T'
#!/bin/sh
xargs -P"$(wc -l <hosts)" -I@ sh -c 'ssh -F "$FLEET_DIR/ssh_config" -o KexAlgorithms=curve25519-sha256 @ "$(cat script)" <rel.tar.gz' <hosts
T
cat >play.yml <<'T'
- hosts: all
  gather_facts: false
  vars: { a: /srv/ansible, id: "{{ lookup('pipe', 'date +%Y%m%d%H%M%S%N') }}" }
  tasks:
    - set_fact: { rel: "{{ id }}" }
      run_once: true
    - file: { path: "{{ a }}/releases/{{ rel }}", state: directory }
    - unarchive: { src: rel.tar.gz, dest: "{{ a }}/releases/{{ rel }}" }
    - shell: "ln -s releases/{{ rel }} {{ a }}/current.new && mv -T {{ a }}/current.new {{ a }}/current"
    - file: { path: "{{ a }}/current/tmp/restart.txt", state: touch }
    - shell: "cd {{ a }}/releases; ls -1 | head -n -5 | xargs -r rm -rf"
T
cat >ansible.cfg <<T
[defaults]
forks = $n
stdout_callback = minimal
host_key_checking = true
[ssh_connection]
pipelining = true
ssh_args = -F $FLEET_DIR/ssh_config -o ControlMaster=auto -o ControlPersist=60s
T

# measure NAME COMMAND…: appends "wall cpu maxrss" to NAME.times
measure() {
    name=$1
    shift
    /usr/bin/time -f '%e %U %S %M' -o time.out "$@" >"$name.out" 2>&1 || { cat "$name.out" >&2; exit 1; }
    tail -n 1 time.out | awk '{printf "%.3f %.3f %d\n", $1, $2 + $3, $4}' >>"$name.times"
}
peers="pitcrew xargs"
command -v ansible-playbook >/dev/null && peers="$peers ansible" || echo "fleet20: no ansible-playbook on the PATH: Ansible is SKIPPED" >&2
for round in $(seq 0 "$ROUNDS"); do
    measure pitcrew "$PITCREW" deploy -q
    measure xargs sh xargs.sh
    case $peers in *ansible*) [ "$round" -gt 2 ] || measure ansible ansible-playbook -i hosts play.yml ;; esac
    # The first round warms caches, here and on the hosts.
    [ "$round" -gt 0 ] || rm -f ./*.times
done
for h in "${hosts[@]}"; do
    count=$(ssh -F "$FLEET_DIR/ssh_config" "$h" 'find -L /srv/pitcrew/current -type f -name "*.rb" | wc -l')
    [ "$count" = 500 ] || { echo "fleet20: $h has $count files" >&2; exit 1; }
done
# shellcheck disable=SC2086 # one word a peer
python3 - "$n" $peers <<'P'
import json, statistics as st, sys
n, peers = sys.argv[1], sys.argv[2:]
rows = {p: [list(map(float, l.split())) for l in open(f"{p}.times")] for p in peers}
med = {p: [st.median(c) for c in zip(*r)] for p, r in rows.items()}
base = med["xargs"]
print(f"{n} hosts, 500 files, 5 MB; medians of {len(rows['pitcrew'])} rounds (client CPU of all its processes; RSS of the largest)")
print(f"{'':9} {'wall s':>8} {'/xargs':>7} {'CPU s':>8} {'/xargs':>7} {'RSS MB':>7}   range of wall")
for p, (w, c, m) in med.items():
    walls = [r[0] for r in rows[p]]
    print(f"{p:9} {w:8.2f} {w/base[0]:7.2f} {c:8.2f} {c/base[1]:7.2f} {m/1024:7.1f}   {min(walls):.2f}-{max(walls):.2f}")
print(json.dumps({"hosts": int(n), "median": {p: dict(zip(("wall", "cpu", "rss_kb"), v)) for p, v in med.items()}}))
P
