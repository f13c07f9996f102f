# What the snippets of web server templates may use. They run in `current`, in a subshell, with the user's environment.

release_dir=$current
deadline=0
value=

# Its answer is always taken by `$(…)`, which is a subshell already.
web_processes() { as_this_user snippet "${s_processes-}"; }
web_start() { as_user snippet "${s_start-}"; }
web_restart() { as_user snippet "${s_restart-}"; }
web_stop() { as_user snippet "${s_stop-}"; }
web_log() { as_user snippet "${s_log-}"; }
web_facts() { as_this_user snippet "${s_facts-}"; }

snippet() {
    # PWD keeps the link's own name: servers that re-execute themselves return to it and find the new release.
    { cd "$current" || cd "$root" || true; } 2>/dev/null
    export PWD
    # On the way back the release that served gets what it had.
    if [ -n "${went-}" ] && [ "$went" != "${wanted_release-}" ] && [ -f "$root/.pitcrew/lock/old_env" ]; then
        # shellcheck disable=SC1091 # written by `keep_env`
        . "$root/.pitcrew/lock/old_env"
    fi
    eval "$1"
}

# paths NAME…: makes path parameters absolute; they are relative to deploy_to.
paths() {
    for name; do
        eval "value=\$w_$name"
        case $value in
        '' | /*) ;;
        \~/*) eval "w_$name=\${HOME:-}/\${value#??}" ;;
        *) eval "w_$name=\$root/\$value" ;;
        esac
    done
}

# is_current PATH: it is the directory that `current` leads to, by whatever name.
is_current() { [ "$(cd -P "$1" 2>/dev/null && pwd -P)" = "$(cd -P "$current" 2>/dev/null && pwd -P)" ]; }

# alive PID: it runs, and is no zombie. No signal is sent, so it holds for other users' processes too.
alive() {
    case $1 in '' | *[!0-9]*) return 1 ;; esac
    { IFS= read -r stat <"/proc/$1/stat"; } 2>/dev/null || return 1
    case ${stat##*) } in [ZXx]*) return 1 ;; esac
    return 0
}

# ours PID WORD: the process belongs to this site: it runs somewhere in deploy_to or names it; where its directory
# cannot be read, its command line says WORD. Guards against pid files that outlived their process.
ours() {
    alive "$1" || return 1
    where=$(readlink "/proc/$1/cwd" 2>/dev/null)
    case $where in "$real" | "$real"/*) return 0 ;; esac
    cmdline=$(tr '\000' ' ' <"/proc/$1/cmdline" 2>/dev/null)
    case $cmdline in *"$root"/* | *"$real"/*) return 0 ;; esac
    [ -z "$where" ] || return 1
    case $cmdline in *"$2"*) return 0 ;; esac
    return 1
}

# pid_in FILE WORD: prints the pid that the file holds, if that process lives and is ours.
pid_in() {
    first_line "$1"
    pid=$(printf %s "$line" | tr -cd 0-9)
    [ -n "$pid" ] && ours "$pid" "$2" && echo "$pid"
    true
}

# forget FILE WORD: removes a pid file that outlived its process: many servers do not start beside one whose number
# another process has by now. A living WORD keeps its file, also one that is not ours.
forget() {
    first_line "$1"
    pid=$(printf %s "$line" | tr -cd 0-9)
    if [ -n "$pid" ] && alive "$pid"; then
        case $(tr '\000' ' ' <"/proc/$pid/cmdline" 2>/dev/null) in *"$2"*) return 0 ;; esac
    fi
    rm -f "$1"
}

# daemon_lives: some process that is no part of this session works in deploy_to.
daemon_lives() {
    IFS= read -r stat </proc/self/stat
    # shellcheck disable=SC2086
    set -- ${stat##*) }
    session=$4
    # shellcheck disable=SC2010
    working=$(ls -ln /proc/[0-9]*/cwd 2>/dev/null | grep -F -e "-> $real/" | sed 's|.*/proc/\([0-9]*\)/cwd -> .*|\1|')
    for pid in $working; do
        { IFS= read -r stat <"/proc/$pid/stat"; } 2>/dev/null || continue
        # shellcheck disable=SC2086
        set -- ${stat##*) }
        [ "$4" = "$session" ] || return 0
    done
    return 1
}

# appears FILE WORD: waits until the pid file names a living process of ours, after a command that started it in the
# background. Gives up once nothing has worked in deploy_to for a while, or with the limit.
appears() {
    clock
    seen=$now
    while in_time; do
        [ -n "$(pid_in "$1" "$2")" ] && return 0
        daemon_lives && seen=$now
        [ "$now" -lt $((seen + 5)) ] || break
        pause
    done
    sorry "the start command ended well, but $1 names no living $2"
}

# children PID: prints the pids of its children, without zombies.
children() {
    cat /proc/[0-9]*/stat 2>/dev/null | sed -n "s/^\([0-9]*\) (.*) [^ZXx] $1 .*/\1/p"
}

# birth PID: prints what an exec changes, and a pid used again.
birth() {
    { IFS= read -r stat <"/proc/$1/stat"; } 2>/dev/null || return 0
    # shellcheck disable=SC2086
    set -- ${stat##*) }
    echo "${20-}.${26-}"
}

# in_time: false once the step's limit has run out.
in_time() {
    clock
    [ "$now" -lt "$deadline" ]
}

# sorry TEXT: says why a snippet gives up.
sorry() {
    printf '%s\n' "$1" >&2
    return 1
}

# What `facts` tells a plan: a restart stops answering for a while; it cannot work; it cannot work unless something makes
# what is missing; something else that should be read.
interrupts() { printf '%s\n' "interrupts $1"; }
refuses() { printf '%s\n' "refuses $1"; }
lacks() { printf '%s\n' "lacks $1"; }
warns() { printf '%s\n' "warns $1"; }

# owner_of PID: prints the name of the user whose process it is.
# shellcheck disable=SC2012
owner_of() { ls -ld "/proc/$1" 2>/dev/null | { read -r _ _ owner _ && echo "$owner"; } || echo "another user"; }

# obeyed PID…: says that a restart cannot work where a process takes no signal of this login; its answer is false then.
obeyed() {
    for pid; do
        if kill -0 "$pid" 2>/dev/null || ! alive "$pid"; then continue; fi
        refuses "process $pid belongs to $(owner_of "$pid"), and $(id -un) may not send it the signal that restarts it"
        return 1
    done
}

# takes_sockets: this login may take the sockets of another process of its own over.
takes_sockets() {
    scope=0
    { IFS= read -r scope </proc/sys/kernel/yama/ptrace_scope; } 2>/dev/null
    [ "$scope" = 0 ] || [ "$(id -u)" = 0 ]
}

# notice TEXT: tells the user something of a restart, which goes on.
notice() { printf '%s\n' "notice: $1"; }

# say_notices: says what snippets have told by `notice`.
say_notices() {
    [ -s "$own/start.log" ] || return 0
    while IFS= read -r line; do
        case $line in 'notice: '*) say notice "${line#notice: }" ;; esac
    done <"$own/start.log"
}

# bundled: has Bundler read the Gemfile through `current`: a server that re-executes itself hands the path on. A start command
# may begin with the directory of its application, `cd backend && …`.
bundled() {
    [ -z "${BUNDLE_GEMFILE-}" ] || return 0
    at=$current
    case ${w_start-} in
    'cd '*)
        at=${w_start#cd }
        at=$current/${at%%[ ;&]*}
        ;;
    esac
    for file in "$at/Gemfile" "$at/gems.rb" "$current/Gemfile" "$current/gems.rb"; do
        [ -f "$file" ] || continue
        BUNDLE_GEMFILE=$file
        export BUNDLE_GEMFILE
        return 0
    done
}

# through_current PATH: sets `place` to it, by way of `current` where it leads into a release.
through_current() {
    set -- "${1%" (deleted)"}"
    place=$1
    case $1 in
    "$real"/releases/*/*) place=${1#"$real"/releases/*/} ;;
    "$root"/releases/*/*) place=${1#"$root"/releases/*/} ;;
    "$real"/releases/* | "$root"/releases/*) place=$current && return ;;
    *) return ;;
    esac
    place=$current/$place
}

# computes FILE PID PATTERN: tells whether the configuration that a process has read, or reads next, computes what PATTERN says;
# sets `file` to where. FILE is as the start command names it: below `current`, or below where the process works.
computes() {
    at=$(readlink "/proc/$2/cwd" 2>/dev/null)
    through_current "$at"
    case $1 in
    # In the release that it works in, too.
    "$current"/*) set -- "$3" "$1" "${at%"${place#"$current"}"}/${1#"$current"/}" ;;
    /*) set -- "$3" "$1" ;;
    *) set -- "$3" "$current/$1" "$place/$1" "$at/$1" ;;
    esac
    pattern=$1
    shift
    for file; do
        [ ! -f "$file" ] || ! grep -v '^[[:space:]]*#' "$file" 2>/dev/null | grep -q -E -e "$pattern" || return 0
    done
    return 1
}

# imports FILE: tells whether a configuration in Python loads a module that lies in the release.
imports() {
    # shellcheck disable=SC2013 # names have no spaces
    for name in $(sed -n -E 's/^[[:space:]]*(import|from)[[:space:]]+([A-Za-z_][A-Za-z0-9_]*).*/\2/p' "$1" 2>/dev/null); do
        if [ -e "$current/$name.py" ] || [ -d "$current/$name" ]; then return 0; fi
    done
    return 1
}

# unlike_last FILE: tells whether a file of the release is another than in the release before it.
unlike_last() {
    last=''
    { IFS=' ' read -r last _; } 2>/dev/null <"$root/.pitcrew/previous"
    last=$root/releases/$last/$1
    [ -f "$last" ] && [ -f "$current/$1" ] && [ "$(cksum <"$last")" != "$(cksum <"$current/$1")" ]
}

# of_another_stack DIRECTORY: tells whether it is the `current` or a release of another stack.
of_another_stack() {
    case $1 in
    /*/current | /*/current/*) other=${1%%/current*} ;;
    /*/releases/*) other=${1%%/releases/*} ;;
    *) return 1 ;;
    esac
    [ -d "$other/.pitcrew" ] && [ "$(cd -P "$other" 2>/dev/null && pwd -P)" != "$real" ]
}

# option WORDS NAME…: sets `option` to what follows the last of these options in a command.
option() {
    wanted=$1
    shift
    option='' names=" $* "
    set -f
    # shellcheck disable=SC2086
    set -- $wanted
    set +f
    while [ $# -gt 0 ]; do
        case $1 in
        --*=*) case $names in *" ${1%%=*} "*) option=${1#*=} ;; esac ;;
        *) case $names in *" $1 "*) option=${2-} ;; esac ;;
        esac
        shift
    done
}

# gunicorn_keeps PID START: tells whether a reload of Gunicorn's master keeps something of the release that it was started in; sets
# `kept` to what. START is the start command, where it is known.
gunicorn_keeps() {
    kept=''
    # By rank: what is on its command line counts for more than what its environment says.
    told=$(tr '\000' '\n' 2>/dev/null <"/proc/$1/environ" | sed -n 's/^GUNICORN_CMD_ARGS=//p')
    told="$told $2 $(tr '\000' ' ' 2>/dev/null <"/proc/$1/cmdline")"
    case " $told " in *' --preload '*) kept="the application, which it preloads" && return 0 ;; esac
    option "$told" -c --config
    case $option in
    python:*) option=$(printf %s "${option#python:}" | tr . /).py ;;
    *) option=${option#file:} ;;
    esac
    if [ -n "$option" ]; then
        set -- "$1" "$option"
    else
        # A title of its own may have been written over its command line.
        set -- "$1" "$current"/gunicorn*.py "$current"/config/gunicorn*.py
    fi
    main_pid=$1
    shift
    for named; do
        if computes "$named" "$main_pid" '^[[:space:]]*preload_app *= *(True|1)'; then
            kept="the application, which $file preloads"
            return 0
        fi
        case $named in /*) ;; *) named=$current/$named ;; esac
        if imports "$named"; then
            kept="what $named imports"
            return 0
        fi
    done
    return 1
}

# reload_signal RELOAD: sets `signal` to the one that a unit's ExecReload, as systemd shows it, sends, of those that mean something
# to a web server.
reload_signal() {
    signal=''
    for name in HUP USR1 USR2 TSTP; do
        for way in "-$name" "-SIG$name" "-s $name" "-s SIG$name" "--signal $name" "--signal SIG$name" "--signal=$name" "--signal=SIG$name"; do
            case $1 in *"$way "*) signal=$name && return ;; esac
        done
    done
    case $1 in *'kill -1 '* | *'kill -s 1 '*) signal=HUP ;; esac
}

# hands_on PID: tells whether a process that re-executes itself would take something of another release along: `traces`
# says what.
hands_on() {
    trace_texts=yes
    trace "$1"
    trace_texts=
    [ -n "$traces" ]
}

# comes_astray PID: the same of what a process and its children come from by now.
comes_astray() {
    # shellcheck disable=SC2046
    trace "$1" $(children "$1")
    [ -n "$traces" ]
}

# unlike_env PID: sets `unlike` to those names of [env] and [secrets] of which the process was not started with the values of now.
# The words of a value pass through no command's arguments. One whose environment this login may not read is like it.
unlike_env() {
    unlike='' has=''
    { IFS= read -r line <"/proc/$1/environ" || [ -n "$line" ]; } 2>/dev/null || return 0
    soh=$(printf '\001')
    has=$nl$(tr '\n\000' '\001\n' <"/proc/$1/environ" 2>/dev/null)$nl
    # A long title of its own may be written over it.
    case $has in *"${nl}PATH="*) ;; *) return 0 ;; esac
    for name in ${user_names-}; do
        eval "value=\$$name"
        while case $value in *"$nl"*) true ;; *) false ;; esac do
            value=${value%%"$nl"*}$soh${value#*"$nl"}
        done
        case $has in *"$nl$name=$value$nl"*) ;; *) unlike="$unlike $name" ;; esac
    done
    unlike_dotenv
}

# unlike_dotenv PID: adds to `unlike` what a process was started with otherwise than a `.env` of the release says now: an application
# that has read one hands its values on when it re-executes itself, and does not read them anew.
unlike_dotenv() {
    for file in "$current/.env" "$current/.env.${RAILS_ENV:-${RACK_ENV:-production}}" "$current/.env.local"; do
        [ -f "$file" ] || continue
        while IFS= read -r line || [ -n "$line" ]; do
            line=${line#"export "}
            case $line in
            [A-Za-z_]*=*) ;;
            *) continue ;;
            esac
            name=${line%%=*} value=${line#*=}
            case $name in *[!A-Za-z0-9_]*) continue ;; esac
            case " ${user_names-} $unlike " in *" $name "*) continue ;; esac
            # What a shell would have to expand is not looked at.
            case $value in *[\$\\\`]*) continue ;; esac
            case $value in
            \"*\") value=${value#\"} value=${value%\"} ;;
            \'*\') value=${value#\'} value=${value%\'} ;;
            *' #'*) value=${value%%" #"*} ;;
            esac
            case $has in *"$nl$name=$value$nl"*) ;; *"$nl$name="*) unlike="$unlike $name" ;; esac
        done <"$file"
    done
}

# env_sum: prints what tells the values of [env] and [secrets] from others.
env_sum() {
    text=
    for name in ${user_names-}; do
        eval "value=\$$name"
        text="$text$name=$value$nl"
    done
    # Not echo, which reads backslashes in some shells.
    printf '%s\n' "$text" | sha256sum 2>/dev/null
}

# keep_env: keeps, for the way back of this run, what the process of `unlike_env` was started with of the names in `unlike`. The
# file is the login's alone, and goes with the lock.
keep_env() {
    kept_env=$root/.pitcrew/lock/old_env
    [ ! -e "$kept_env" ] || return 0
    (
        umask 077
        quote="'\\''"
        for name in $unlike; do
            case $has in
            *"$nl$name="*) ;;
            *)
                echo "unset $name"
                continue
                ;;
            esac
            value=${has#*"$nl$name="}
            value=${value%%"$nl"*}
            done_part=
            while case $value in *"'"*) true ;; *) false ;; esac do
                done_part=$done_part${value%%"'"*}$quote
                value=${value#*"'"}
            done
            value=$done_part$value
            while case $value in *"$soh"*) true ;; *) false ;; esac do
                value=${value%%"$soh"*}$nl${value#*"$soh"}
            done
            printf '%s\n' "$name='$value'; export $name"
        done >"$kept_env"
    ) 2>/dev/null
}

# begun_with PID: keeps which of those names the start command, or Bundler, gives a value of its own.
begun_with() {
    unlike_env "$1"
    echo "$unlike" >"$root/.pitcrew/own_env" || true
}

# keeps_env PID: tells whether a process that re-executes itself hands on other values of [env] and [secrets] than they have by now:
# `unlike` says of which.
keeps_env() {
    unlike_env "$1"
    first_line "$root/.pitcrew/own_env"
    changed=
    for name in $unlike; do
        case "$name $line " in
        PATH\ * | RUBYOPT\ * | RUBYLIB\ * | BUNDLE_* | GEM_* | *" $name "*) ;;
        *) changed="$changed $name" ;;
        esac
    done
    unlike=$changed
    [ -n "$unlike" ]
}

# is_out: this run has taken the server out of its balancer, so that no request meets a restart.
is_out() { [ "${p_out-}" = yes ]; }

# opaque PID: tells whether where it works proves nothing of what it has loaded, and nothing else does: no answer names its
# release, and it is none that loads no application. Sets `where`.
opaque() {
    [ "${p_named-}" != yes ] || return 1
    locate "$1"
    case ${places##*:} in
    '') where="$(id -un) may not see what that runs from" ;;
    -) where="that works outside $root" ;;
    *) return 1 ;;
    esac
    ! codeless "$1"
}

# keeps_main PID RELOAD: tells whether a unit's ExecReload, as systemd shows it, is known to keep this process, whose new workers
# come from what it has loaded or found at its start. Of one that this login may not look into, `opaque` has found, an exec in
# place shows nowhere.
keeps_main() {
    reload_signal "$2"
    title=$(tr '\000' ' ' <"/proc/$1/cmdline" 2>/dev/null)
    set -f
    # shellcheck disable=SC2086
    set -- $title
    set +f
    # An interpreter and its options may come first.
    for word in "${1-}" "${2-}" "${3-}" "${4-}"; do
        case ${word##*/}.$signal in
        gunicorn.HUP | gunicorn:.HUP | unicorn.HUP | unicorn_rails.HUP | uvicorn.HUP | hypercorn.HUP | puma.USR1) return 0 ;;
        uwsgi.HUP | uwsgi-core.HUP | puma.USR2) [ -n "$places" ] || return 0 ;;
        esac
    done
    return 1
}

# background LOG COMMAND: runs a command that stays in the foreground, apart from this session. Sets `child`.
background() {
    mkdir -p "${1%/*}"
    if command -v setsid >/dev/null 2>&1; then
        setsid sh -c "$2" >>"$1" 2>&1 &
    else
        nohup sh -c "$2" >>"$1" 2>&1 &
    fi
    child=$!
}

# running_soon FILE WORD: waits until the pid file names a living process; gives up when the command that
# `background` ran has failed, or with the limit.
running_soon() {
    while in_time; do
        [ -n "$(pid_in "$1" "$2")" ] && return 0
        if ! alive "$child"; then
            wait "$child"
            status=$?
            # A command that went to the background by itself has ended well and may still be booting.
            [ "$status" -eq 0 ] || sorry "the start command ended with status $status" || return 1
        fi
        pause
    done
    sorry "no living process in $1"
}

# gone_within SECONDS PID…: waits until none of them lives.
gone_within() {
    clock
    until=$((now + $1))
    shift
    while true; do
        some=
        for pid; do alive "$pid" && some=yes; done
        [ -n "$some" ] || return 0
        clock
        [ "$now" -lt "$until" ] || return 1
        pause
    done
}

# end PID SIGNAL SECONDS SIGNAL SECONDS …: asks a process to end, ever less kindly.
end() {
    target=$1
    shift
    while [ $# -ge 2 ]; do
        alive "$target" || return 0
        kill -s "$1" "$target" || return 1
        gone_within "$2" "$target" && return 0
        shift 2
    done
    sorry "process $target does not end"
}

# settled PID OLD: waits until the process has children that are none of OLD and stay for a second. Gives up as soon as the process
# ends or its new children keep dying.
settled() {
    steady='' since='' dead=0 seen=
    while in_time; do
        alive "$1" || sorry "process $1 ended" || return 1
        fresh='' remain=
        for pid in $(children "$1"); do
            case " $2 " in *" $pid "*) remain=yes ;; *) fresh="$fresh $pid" ;; esac
        done
        for pid in $seen; do
            case " $fresh " in *" $pid "*) ;; *) dead=$((dead + 1)) ;; esac
        done
        [ "$dead" -lt 3 ] || sorry "the new workers of process $1 keep dying" || return 1
        seen=$fresh
        if [ -z "$fresh" ] || [ -n "$remain" ] || [ "$fresh" != "$steady" ]; then
            steady=$fresh
            since=$tenths
        elif [ "$tenths" -ge $((since + 10 + grain)) ]; then
            return 0
        fi
        pause
    done
    sorry "process $1 has no settled new workers"
}
