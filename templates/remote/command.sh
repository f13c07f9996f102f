# Runs one command of the configuration. Its output passes through and its exit status is this script's.
case $p_dir in
'') dir=$current ;;
/) dir=$root ;;
*) dir=$root/releases/$p_dir ;;
esac
[ -d "$dir" ] || fail no_release "$dir does not exist"
if [ -n "$p_token" ]; then
    holding
    note command "$p_verb" || true
fi
in_dir() {
    cd "$dir" || exit 71
    export PWD
    # An argument cannot be longer than 128 KiB; a shell's variable can.
    [ "${#p_run}" -gt 100000 ] || exec sh -c "$p_run"
    eval "$p_run"
}
as_user in_dir
status=$?
ended exit "$status"
# Whatever was printed last may lack its newline: the reader parts it from the answer that follows.
if [ "$status" -gt 128 ] && signal=$(kill -l "$status" 2>/dev/null); then
    # Beyond the last signal some shells print the number.
    case $signal in '' | [0-9]*) ;; *) say signal "${signal#SIG}" ;; esac
fi
say exit "$status"
say 'done'
exit "$status"
