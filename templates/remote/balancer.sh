# Runs a command of [load_balancer] for one server after another, on a host that need be no server of the stack. What
# comes before sets `nonce` and exports the environment; a line for each server and the end come after.
PATH=${PATH:-/usr/local/bin:/usr/bin:/bin}:/usr/local/sbin:/usr/sbin:/sbin
export PATH
# one COMMAND NAME=VALUE…: runs it with these facts; its exit status is the answer.
one() {
    command=$1
    shift
    (
        for fact; do
            # Its name is before the `=`, and ours.
            # shellcheck disable=SC2163
            export "$fact"
        done
        exec sh -c "$command"
    ) </dev/null 2>&1
    printf '\n@pitcrew:%s %s\n' "${nonce?}" "$?"
}
