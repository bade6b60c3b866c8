"""A process that reads nothing of what it is told, says at once that it will say no more, and lives on."""

import os
import socket
import time

with socket.socket(fileno=os.dup(0)) as end:
    end.shutdown(socket.SHUT_WR)
time.sleep(600)
