"""Clock, loop, settings, logs and supervision."""
