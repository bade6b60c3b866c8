"""A venue inside the process, for replay."""
