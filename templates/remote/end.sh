# shellcheck disable=SC2154 # p_signal is set before
# Ends every other command of the same SSH connection with the signal in $p_signal.
#
# The way out where sshd does not pass signals on: it does not for root, nor before OpenSSH 7.9. Commands of one
# connection are children of one sshd, as is this shell; each leads its own process group, and a session in which others
# may be: `timeout` makes one. Where one process serves several connections, their commands are told apart by what sshd
# says of the connection in their environment.
# Busybox takes no `--`, and dash needs it.
p_tell() { kill -s "$p_signal" -- "-$1" 2>/dev/null || kill -s "$p_signal" "-$1" 2>/dev/null; }
# p_stats PATTERN WHAT: prints WHAT of each process whose fields after the state fit. Its name may hold anything, they are
# numbers.
p_stats() { cat /proc/[0-9]*/stat 2>/dev/null | sed -n "s/^\([0-9]*\) (.*) [A-Za-z] $1 [0-9 -]*\$/$2/p"; }
if [ -r /proc/self/stat ]; then
  p_all=''
  for p_pid in $(p_stats "$PPID" '\1'); do
    [ "$p_pid" = "$$" ] || p_all="$p_all /proc/$p_pid/environ"
  done
  # shellcheck disable=SC2086 # names of ours
  p_said=" $(grep -l -e SSH_CONNECTION= $p_all /dev/null 2>/dev/null | tr '\n' ' ')"
  # shellcheck disable=SC2086 # names of ours
  p_ours=" $(grep -l -e "SSH_CONNECTION=${SSH_CONNECTION-}" $p_all /dev/null 2>/dev/null | tr '\n' ' ')"
  for p_file in $p_all; do
    case $p_said in *" $p_file "*)
      case $p_ours in *" $p_file "*) ;; *) continue ;; esac
      ;;
    esac
    p_pid=${p_file#/proc/}
    p_pid=${p_pid%/environ}
    p_session=$(p_stats "[0-9]* \([0-9]*\) $p_pid" '\1:\2')
    p_tell "$p_pid"
    for p_one in $p_session; do
      # Once each: a second time some take for impatience.
      case $p_one in *:"$p_pid") ;; *) kill -s "$p_signal" "${p_one%:*}" 2>/dev/null ;; esac
    done
  done
else
  ps -A -o pid= -o ppid= | while read -r p_pid p_parent; do
    [ "$p_parent" = "$PPID" ] && [ "$p_pid" != "$$" ] && p_tell "$p_pid"
  done
fi
exit 0
