# Takes this server's lock, or renews it. `mkdir` is the one atomic step; the same run may take it again.
held() {
    say held yes
    if [ -f "$lock/owner" ] && [ -r "$lock/owner" ]; then
        while IFS= read -r line || [ -n "$line" ]; do say owner "$line"; done <"$lock/owner"
    fi
    for file in "$lock/beat" "$lock/owner" "$lock"; do [ -e "$file" ] && break; done
    touched=$(stat -c %Y "$file" 2>/dev/null || date -r "$file" +%s 2>/dev/null)
    epoch=$(date +%s)
    case $touched in
    '' | *[!0-9]*) ;;
    *)
        age=$((epoch - touched))
        [ "$age" -ge 0 ] || age=0
        say age "$age"
        ;;
    esac
    fail locked "another run holds the lock"
}
if [ "$p_renew" = yes ]; then
    renewing
    finish
fi
[ -d "$own" ] && [ -d "$root/releases" ] && [ -d "$root/shared" ] ||
    error=$(mkdir -p "$own" "$root/releases" "$root/shared" 2>&1) || refuse not_writable "$error"
if error=$(mkdir "$lock" 2>&1); then
    cleanup() { rm -rf "$lock"; }
    put "$lock/owner" "$p_owner" || refuse not_writable "$error"
    true >"$lock/beat"
    say taken yes
elif [ -d "$lock" ]; then
    find_owner
    [ "$owner_run" = "$p_token" ] || held
    true >"$lock/beat"
    say taken again
else
    refuse not_writable "$error"
fi
finish
