# Fetches one commit into the mirror `repo`, and makes a release of it.
holding
receive
repo=$root/repo
hosts=$own/git_hosts.$p_id
cleanup() {
    rm -rf "$incoming" "$hosts"
    sweep
}
# sweep: what git leaves in a mirror when it is killed, or when the disk is full. No other run fetches while this one holds the lock.
sweep() {
    [ -d "$repo/objects" ] || return 0
    rm -rf "$repo"/objects/pack/tmp_* "$repo"/objects/??/tmp_obj_* "$repo"/objects/tmp_* "$repo"/config.lock \
        "$repo"/HEAD.lock "$repo"/FETCH_HEAD.lock "$repo"/packed-refs.lock "$repo"/shallow.lock
    find "$repo/refs" -name '*.lock' -exec rm -f {} +
} 2>/dev/null

# Host keys of the configuration stand alone: what the server knows beside them does not count.
ssh='ssh -o BatchMode=yes -o StrictHostKeyChecking=yes -o ConnectTimeout=30 -o ServerAliveInterval=15 -o ServerAliveCountMax=4'
quoted_hosts=
eval "set -- $p_host_keys"
if [ $# -gt 0 ]; then
    error=$(printf '%s\n' "$@" 2>&1 >"$hosts") || refuse not_writable "$error"
    # A path in ssh's options: quoted, and a percent sign begins a token there.
    # shellcheck disable=SC2089 # ssh reads the quotes
    quoted_hosts=\"$(printf '%s\n' "$hosts" | sed 's/%/%%/g')\"
    # shellcheck disable=SC2016,SC2089 # for the shell that git starts
    ssh=$ssh' -o GlobalKnownHostsFile=/dev/null -o "UserKnownHostsFile=$pitcrew_hosts"'
fi
case $p_deploy_key in
'') key= ;;
/*) key=$p_deploy_key ;;
\~/*) key=${HOME:-}/${p_deploy_key#??} ;;
*) key=${HOME:-}/$p_deploy_key ;;
esac
if [ -n "$key" ]; then
    [ -r "$key" ] || fail no_deploy_key "cannot read the deploy key $key"
    # shellcheck disable=SC2016,SC2089 # likewise
    ssh=$ssh' -o IdentitiesOnly=yes -i "$pitcrew_key"'
fi

# run_git ARGUMENT…: git in the mirror, with the user's environment (proxies, certificates). It never prompts. The
# password is in that environment, and is told to the configured host alone.
run_git() {
    unset GIT_DIR GIT_WORK_TREE GIT_INDEX_FILE GIT_OBJECT_DIRECTORY GIT_ALTERNATE_OBJECT_DIRECTORIES GIT_COMMON_DIR GIT_NAMESPACE
    LC_ALL=C GIT_TERMINAL_PROMPT=0 GIT_ASKPASS='' SSH_ASKPASS='' GIT_NO_REPLACE_OBJECTS=1
    GIT_SSH_COMMAND=$ssh GIT_SSH_VARIANT=ssh GIT_ALLOW_PROTOCOL=https:http:ssh:git:file
    pitcrew_hosts=$quoted_hosts pitcrew_key=$key
    # shellcheck disable=SC2090 # likewise
    export LC_ALL GIT_TERMINAL_PROMPT GIT_ASKPASS SSH_ASKPASS GIT_NO_REPLACE_OBJECTS
    # shellcheck disable=SC2090 # likewise
    export GIT_SSH_COMMAND GIT_SSH_VARIANT GIT_ALLOW_PROTOCOL pitcrew_hosts pitcrew_key
    if [ -n "$p_origin" ]; then
        # shellcheck disable=SC2016 # for the shell that git starts
        helper='!login() { [ "$1" != get ] || printf "username=%s\npassword=%s\n" "$PITCREW_GIT_USER" "$PITCREW_GIT_PASSWORD"; }; login'
        set -- -c credential.helper= -c "credential.$p_origin.helper=$helper" "$@"
    fi
    exec git --git-dir="$repo" -c fetch.unpackLimit=1 -c transfer.unpackLimit=1 -c http.lowSpeedLimit=1 \
        -c http.lowSpeedTime=60 -c gc.autoDetach=false -c maintenance.autoDetach=false "$@"
}
in_mirror() { as_user run_git "$@"; }

# judge: after a failure that git tells of in `error`, refuses where the mirror is not to blame, and sets `damage` else.
judge() {
    case $error in
    *'No space left'* | *'uota exceeded'* | *'ut of diskspace'*) refuse not_fetched "$error" ;;
    *'ost key verification failed'*)
        fail git_host_key "$error"
        ;;
    *'ermission denied ('*) fail git_denied "$(offered): $(printf '%s\n' "$error" | tr -d '\r' | sed -n 1p)" ;;
    esac
    # A full disk makes many a complaint, of the network too; a mirror is not given up for one.
    find_disk "$repo"
    if [ "${free_kb:-64}" -lt 64 ] || [ "${free_inodes:-1}" -lt 1 ]; then refuse not_fetched "No space left: $error"; fi
    case $error in
    *'Could not read from remote repository'* | *'unable to access'* | *'uthentication failed'* | *'could not read Username'* | \
        *'could not read Password'* | *'unable to connect'* | *'unable to look up'* | *'hung up'* | *'RPC failed'* | \
        *'early EOF'* | *'imed out'* | *'epository not found'* | *'not found'* | *'dubious ownership'* | *'transport '*' not allowed'*)
        fail not_fetched "$error"
        ;;
    *'Read-only file system'* | *'ermission denied'*) refuse not_fetched "$error" ;;
    esac
    [ -z "$fresh" ] || fail not_fetched "$error"
    damage=${error:-it says nothing}
}

# offered: says what ssh had to show to the git host.
offered() {
    if [ -n "$key" ]; then
        echo "it does not accept the deploy key $key"
    elif [ -n "${SSH_AUTH_SOCK-}" ]; then
        keys=$(ssh-add -l 2>&1 | head -n 8 | tr '\n' ',')
        echo "it accepts no key of the agent that was lent to the server (${keys%,})"
    elif [ -n "$p_lent" ]; then
        echo "no agent was lent to the server, although forward_agent is set: none runs where pitcrew does, or the server's sshd does not allow it (AllowAgentForwarding)"
    else
        echo "the server has no key that it accepts, no deploy_key is set and no agent is lent"
    fi
}

# measure: refuses a commit that there is no room for: its files, and as much again for the build, as with what is sent.
measure() {
    size=$(in_mirror ls-tree -r -t -l "$p_revision" 2>/dev/null | while read -r _ _ _ size _; do echo "$size"; done | add_up)
    find_disk "$own" "$root/releases"
    kb=${size% *} files=${size#* }
    [ "${free_kb:-$kb}" -lt "$kb" ] || [ "${free_inodes:-$files}" -lt "$files" ] || return 0
    # What is export-ignored takes no room; git alone knows what that is.
    size=$(in_mirror archive --format=tar "$p_revision" 2>/dev/null | tar -tvf - 2>/dev/null |
        while read -r _ _ size _; do echo "$size"; done | add_up)
    needs "${size% *}" "${size#* }" "twice the release"
}
# add_up: prints twice the KB that files of these sizes take, and twice how many they are; what has no size is a directory.
add_up() {
    blocks=0 files=0
    while read -r size; do
        case $size in '' | *[!0-9]*) size=4096 ;; esac
        blocks=$((blocks + (size + 4095) / 4096)) files=$((files + 2))
    done
    echo "$((blocks * 8)) $files"
}

# fetch: brings the commit. Hosts that hand out only what a ref points to are asked for all refs.
#
# A commit that is there may be there alone, where a fetch was cut short: only what a ref leads to is whole. And packs come
# into a mirror whole or not at all, loose objects one by one.
fetch() {
    error=$(in_mirror rev-list -n 1 "$p_revision" --not --all 2>&1)
    case $error in
    '') return 0 ;;
    # Git goes on beside a pack that it cannot read, and complains for ever.
    *'error: index file'* | *'error: packfile'* | *'object file'*' is empty'* | *' is corrupt'*)
        damage=$error
        return 1
        ;;
    esac
    error=$(in_mirror fetch --no-tags --no-recurse-submodules "$p_repo" "+$p_revision:refs/pitcrew/fetched" 2>&1) && return 0
    case $error in
    *'unadvertised object'* | *'not our ref'* | *"ouldn't find remote ref"* | *'dumb http'*) ;;
    *)
        judge
        return 1
        ;;
    esac
    if ! error=$(in_mirror fetch --no-tags --no-recurse-submodules "$p_repo" '+refs/heads/*:refs/heads/*' '+refs/tags/*:refs/tags/*' 2>&1); then
        judge
        return 1
    fi
    in_mirror cat-file -e "$p_revision^{commit}" 2>/dev/null ||
        fail no_commit "$p_repo has no commit $p_revision; is it pushed?"
}

# refuse_what_archives_lack: git archive leaves submodules empty, and files in LFS as pointers.
refuse_what_archives_lack() {
    error=$(in_mirror grep -l -F filter=lfs "$p_revision" -- .gitattributes ':(glob)**/.gitattributes' 2>&1)
    case $? in
    0) fail git_lfs "files are kept in Git LFS (${error#*:})" ;;
    1) ;;
    *)
        judge
        return 1
        ;;
    esac
}
refuse_submodules() {
    in_mirror ls-tree -r "$p_revision" 2>/dev/null | sed -n 's/^160000 [^	]*	//p' | {
        # Those marked export-ignore are not missed.
        found=
        while IFS= read -r path; do
            [ ! -d "$incoming/$path" ] || found=${found:+$found, }$path
        done
        printf '%s\n' "$found"
    }
}

# unpack: says on descriptor 3 how git ended, and how tar did. -o: files belong to the login user, also when that is root.
unpack() {
    {
        in_mirror -c tar.umask=0022 -c core.autocrlf=false -c core.eol=lf archive --format=tar "$p_revision" 3>&-
        echo "packed $?" >&3
    } | {
        tar -xof - -C "$incoming" 3>&-
        echo "unpacked $?" >&3
        cat >/dev/null
    }
}

reported() { case $nl$report$nl in *"$nl$1$nl"*) ;; *) return 1 ;; esac }

# begin: makes a mirror where there is none, as Capistrano does, which may take over again.
begin() {
    fresh=yes
    error=$(in_mirror init -q --bare 2>&1) || judge
    in_mirror remote add --mirror=fetch origin "$p_repo" 2>/dev/null
}

# attempt: everything but the last step; returns 1 with `damage` set when the mirror is no good.
attempt() {
    damage='' fresh=''
    if [ ! -d "$repo" ] || [ -z "$(ls -A "$repo" 2>&1)" ]; then
        begin
    elif [ ! -e "$repo/objects" ] && [ ! -e "$repo/HEAD" ] && [ ! -e "$repo/config" ]; then
        for entry in "$repo"/* "$repo"/.[!.]*; do
            # What a `git init` that was cut short has left is in no one's way.
            case ${entry##*/} in branches | description | hooks | info | refs | config.lock | HEAD.lock | '*' | '.[!.]*') ;; *)
                fail repo_odd "$repo is no mirror of a git repository; move it away"
                ;;
            esac
        done
        rm -f "$repo/config.lock" "$repo/HEAD.lock"
        begin
    else
        error=$(in_mirror rev-parse --is-bare-repository 2>&1)
        if [ "$error" != true ]; then
            judge
            return 1
        fi
        sweep
    fi
    fetch || return 1
    refuse_what_archives_lack || return 1
    measure
    empty_incoming
    report=$({ unpack 2>&1 | tail -n 6 >&3; } 3>&1)
    if ! reported 'packed 0'; then
        # Where tar has ended first, for want of room, it says so.
        error=$report
        judge
        return 1
    fi
    reported 'unpacked 0' || refuse not_unpacked "$report"
    lacking=$(refuse_submodules)
    [ -z "$lacking" ] ||
        fail submodules "$lacking"
}

if ! attempt; then
    say notice "the mirror $repo was damaged and is cloned anew: $damage"
    # What is a link stays one: the mirror may lie on another disk.
    error=$(cd -P "$repo" && find . ! -name . -prune -exec rm -rf {} + 2>&1) || refuse not_writable "$error"
    attempt || fail not_fetched "$damage"
fi
keep
