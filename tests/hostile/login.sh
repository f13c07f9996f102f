#!/bin/sh
# The login shell of servers of which each is honest, or lies as a file in its home says. "$@" is -c COMMAND.
lie=
{ IFS= read -r lie <"$HOME/lie"; } 2>/dev/null
case $lie in
'') exec /bin/sh "$@" ;;
# It speaks, and runs nothing.
echoes) exec cat ;;
floods) exec yes "$(printf '\033[2J\033]0;owned\007@pitcrew:0 done')" ;;
one_line) exec tr '\000' x </dev/zero ;;
agrees) exit 0 ;;
refuses)
    echo "This account is not available." >&2
    exit 1
    ;;
hangs) exec sleep 600 ;;
# It runs what it is told, and says something else.
dates) /bin/sh "$@" | sed -u 's/[0-9]\{14\}/20990101000000/g' ;;
paints) /bin/sh "$@" | sed -u "s/\$/$(printf '\033[2J\033]0;owned\007')/" ;;
repeats) /bin/sh "$@" | sed -u p ;;
forgets) /bin/sh "$@" | sed -u '/ done/d' ;;
locked)
    lock='\1lock held\n\1owner run=20260101T000000Z-abcdef01\n\1owner who=eve\n\1age 3'
    /bin/sh "$@" | sed -u "s/^\(@pitcrew:[^ ]* \)unknown .*/&\n$lock/"
    ;;
esac
