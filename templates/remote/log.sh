# Prints the end of the web server's log.
started=yes
tail_log
echo
finish
