# Runs one command of the configuration. Its output passes through and its exit status is this script's.
case $p_dir in
'') dir=$current ;;
/) dir=$root ;;
*) dir=$root/releases/$p_dir ;;
esac
[ -d "$dir" ] || fail no_release "$dir does not exist"

if [ -n "$p_token" ]; then
    trap told_to_end HUP INT TERM
    holding
    note command "$p_verb" || true
fi
PITCREW_STEP=$mark
in_dir() {
    cd "$dir" || exit 71
    export PWD
    if [ -z "$p_token" ]; then
        # An argument cannot be longer than 128 KiB; a shell's variable can.
        [ "${#p_run}" -gt 100000 ] || exec sh -c "$p_run"
        eval "$p_run"
        return
    fi
    export PITCREW_STEP
    # No `exec`: this shell ends at once when its group is told to, and with that the wait of the one that waits for it.
    if [ "${#p_run}" -gt 100000 ]; then eval "$p_run"; else sh -c "$p_run"; fi
    return $?
}
# From here on the reader takes nothing from this script but how it ends.
say user
as_user in_dir
status=$?
[ -z "$p_token" ] || trap - HUP INT TERM
ended exit "$status"
# Whatever was printed last may lack its newline: the reader parts it from the answer that follows.
if [ "$status" -gt 128 ] && signal=$(kill -l "$status" 2>/dev/null); then
    # Beyond the last signal some shells print the number.
    case $signal in '' | [0-9]*) ;; *) say signal "${signal#SIG}" ;; esac
fi
say exit "$status"
say 'done'
exit "$status"
