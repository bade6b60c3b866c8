"""A process that reads nothing of what it is told."""

import time

time.sleep(600)
