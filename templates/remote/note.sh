# Writes into the journal what is about to be done to this server from elsewhere: out of its balancer.
holding
note "$p_words" || refuse not_writable "$error"
finish
