# Records what became of a release, and of this server.
holding
record
finish
