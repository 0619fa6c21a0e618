"""kill -9 of a `taly` at an instant counted from something that it said."""

import re
import signal
import subprocess
import time
from queue import Empty, SimpleQueue
from threading import Thread

SILENT_S = 120.0
"""Real seconds after which a process that says nothing more has hung."""
RESTORE = "restore database: started"
RESTORED = "restore database: done"
LAST = "verify everything: started"


class Victim:
    """A `taly` whose standard error is listened to until it is killed."""

    def __init__(self, process: "subprocess.Popen[str]", *, resumes: bool) -> None:
        """`resumes`: whether it goes on with a run, whose story it then tells first."""
        self._process = process
        self._resumes = resumes
        self._lines: SimpleQueue[str] = SimpleQueue()
        self._listener = Thread(target=self._listen)
        self._listener.start()
        self.said: list[str] = []

    @property
    def run(self) -> str:
        """The run that it named; empty before."""
        found = re.search(r"^run-\w{6}", "".join(self.said), re.MULTILINE)
        return found.group() if found else ""

    @property
    def restores(self) -> bool:
        """Whether the database was going back when it said its last line."""
        told = [line for line in self.said if RESTORE in line or RESTORED in line]
        return bool(told) and RESTORE in told[-1]

    def has_begun(self, *steps: str) -> bool:
        """Whether it said one of these, be it that it begins or goes on with it."""
        own = self.said
        if self._resumes:
            mine = f"(process {self._process.pid})"
            own = self.said[next((n for n, line in enumerate(own) if mine in line), len(own)) :]
        return any(step in line for step in steps for line in own)

    def killed_in_run(self, seconds: float) -> bool:
        """Kill it so many real seconds after it named its run; whether it had not ended."""
        while not self.run and self._hear(SILENT_S):
            pass
        return self._killed_after(seconds)

    def killed_in_restore(self, seconds: float) -> bool:
        """The same after it began to restore; where that is done, once its last step has begun."""
        while not self.has_begun(RESTORE, LAST) and self._hear(SILENT_S):
            pass
        return self._killed_after(0.0 if self.has_begun(LAST) else seconds)

    def _killed_after(self, seconds: float) -> bool:
        at = time.monotonic() + seconds
        while (left := at - time.monotonic()) > 0 and self._hear(left):
            pass
        self.end()
        return self._process.returncode == -signal.SIGKILL

    def end(self) -> None:
        """Kill it, and hear its last words."""
        self._process.kill()
        self._listener.join()
        self._process.communicate()
        while self._hear(0.0):
            pass

    def _hear(self, within_s: float) -> bool:
        """Its next line; False when there is none in that time, or no more."""
        try:
            line = self._lines.get(timeout=within_s) if within_s else self._lines.get_nowait()
        except Empty:
            if within_s >= SILENT_S:
                self._process.kill()
                raise AssertionError(f"it hung: {self.said}") from None
            return False
        self.said.append(line)
        return bool(line)

    def _listen(self) -> None:
        assert self._process.stderr is not None
        for line in self._process.stderr:
            self._lines.put(line)
        self._lines.put("")
