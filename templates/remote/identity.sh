# Answers what a cloud machine knows of itself, each in an answer of its own: instance ID, address IP; `why TEXT` where an
# instance's id cannot be told. Changes nothing. p_dmi and p_meta: where to look; p_limit: seconds for each question.
instance=
take() {
    case $1 in
    i-*[!0-9a-f]* | i-) return 1 ;;
    i-*) instance=$1 ;;
    *) return 1 ;;
    esac
}
# Machines of the newer kind carry it in their firmware, where nothing has to be asked.
if [ -r "$p_dmi" ]; then
    read -r tag <"$p_dmi" 2>/dev/null || true
    take "${tag:-}" || true
fi
if [ -z "$instance" ]; then
    # A token comes first, which a forwarding proxy or a forged request cannot get.
    ttl='X-aws-ec2-metadata-token-ttl-seconds: 60'
    why=
    if command -v curl >/dev/null 2>&1; then
        token=$(curl -fsS --noproxy '*' --max-time "$p_limit" -X PUT -H "$ttl" "$p_meta/api/token" 2>/dev/null </dev/null) &&
            id=$(curl -fsS --noproxy '*' --max-time "$p_limit" -H "X-aws-ec2-metadata-token: $token" \
                "$p_meta/meta-data/instance-id" 2>/dev/null </dev/null) || id=
    elif command -v wget >/dev/null 2>&1; then
        token=$(wget -q -O - --no-proxy -t 1 -T "$p_limit" --method=PUT --header="$ttl" "$p_meta/api/token" 2>/dev/null </dev/null) &&
            id=$(wget -q -O - --no-proxy -t 1 -T "$p_limit" --header="X-aws-ec2-metadata-token: $token" \
                "$p_meta/meta-data/instance-id" 2>/dev/null </dev/null) || id=
    else
        id=
        why="it has neither curl nor wget to ask its metadata service with"
    fi
    take "$id" || say why "${why:-its metadata service does not tell an instance id}"
fi
[ -z "$instance" ] || say instance "$instance"
for address in $(hostname -I 2>/dev/null </dev/null); do
    say address "$address"
done
finish
