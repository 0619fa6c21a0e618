"""Signals that come together end a sandbox; none of them leaves it waiting for ever."""

import os
import signal
import subprocess
import sys
import threading
import time

ROUNDS = 80
CHILD = f"""
from taly.sandbox.serve import told_by_signals

for number in range({ROUNDS}):
    told = told_by_signals()
    print(number, flush=True)
    told.wait()
print("ended")
"""


def test_two_signals_at_once_are_one() -> None:
    """A handler that sets the event itself hangs here within a few rounds."""
    child = subprocess.Popen([sys.executable, "-c", CHILD], stdout=subprocess.PIPE, text=True)
    watchdog = threading.Timer(30.0, child.kill)
    watchdog.start()
    try:
        assert child.stdout is not None
        while (line := child.stdout.readline()) != "ended\n":
            assert line, "it died"
            time.sleep(0.002)  # it waits by now, mostly; where it does not, the round is as good
            os.kill(child.pid, signal.SIGTERM)
            time.sleep(0.00002)
            os.kill(child.pid, signal.SIGTERM)
    finally:
        watchdog.cancel()
        child.kill()
        child.communicate()
