//! What is said of hosts, file by file.
