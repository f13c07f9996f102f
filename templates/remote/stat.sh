# stat_of PID: sets `group` and `session`. The name before them may hold spaces and parentheses.
stat_of() {
    group='' session=''
    { IFS= read -r line <"/proc/$1/stat"; } 2>/dev/null || return 1
    # shellcheck disable=SC2086 # these have no spaces
    set -- ${line##*) }
    [ $# -ge 4 ] || return 1
    group=$3 session=$4
}
