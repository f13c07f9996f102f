# Writes into the journal what is about to be done to this server from elsewhere: out of its balancer.
holding
note "$p_words" || refuse not_writable "$error"
# It was found in its balancer: an earlier note that a person took it out does not apply any more.
[ "$p_in" != yes ] || [ ! -e "$own/drained" ] || rm -f "$own/drained"
finish
