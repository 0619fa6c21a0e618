"""A way to PostgreSQL on which the answer to one COMMIT gets lost, after the server has done it."""

import socket
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from select import select

COMMIT = b"COMMIT"


class LostAnswer:
    """Passes everything on until it is armed; then the next COMMIT is a connection's last word."""

    def __init__(self, to: tuple[str, int]) -> None:
        self.armed = False
        self.lost = 0
        """How many COMMITs the server has answered, and nobody heard."""
        self._to = to
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.port: int = self._listener.getsockname()[1]
        threading.Thread(target=self._accept, daemon=True).start()

    def close(self) -> None:
        self._listener.close()

    def _accept(self) -> None:
        with suppress(OSError):
            while True:
                here, _ = self._listener.accept()
                threading.Thread(target=self._pass_on, args=(here,), daemon=True).start()

    def _pass_on(self, here: socket.socket) -> None:
        with here, socket.create_connection(self._to) as there, suppress(OSError):
            committing = False
            while True:
                ready = select([here, there], [], [])[0]
                if there in ready:
                    said = there.recv(65536)
                    if committing:
                        self.lost += 1
                        return
                    here.sendall(said)
                if here in ready:
                    asked = here.recv(65536)
                    committing = self.armed and COMMIT in asked
                    there.sendall(asked)
                    if not asked:
                        return


@contextmanager
def losing_an_answer(to: tuple[str, int]) -> Iterator[LostAnswer]:
    """One such way; closed at the end."""
    way = LostAnswer(to)
    try:
        yield way
    finally:
        way.close()
