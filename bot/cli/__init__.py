"""The command line: results on stdout, logs and progress on stderr; exit code 0 done, 1 failed, 2 wrong usage."""
