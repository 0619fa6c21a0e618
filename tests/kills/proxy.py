"""A TCP proxy between `taly` and the store's server, which stalls, cuts and refuses."""

import socket
import threading
from contextlib import suppress
from urllib.parse import urlsplit, urlunsplit


class Proxy:
    """Passes everything on until it is told otherwise."""

    def __init__(self, url: str) -> None:
        """`url`: where the database really is."""
        parts = urlsplit(url)
        self._target = (parts.hostname or "", parts.port or 0)
        self._listening = socket.create_server(("127.0.0.1", 0))
        port = self._listening.getsockname()[1]
        where = f"{parts.username}:{parts.password}@127.0.0.1:{port}"
        self.url = urlunsplit(parts._replace(netloc=where))
        self._flowing, self._refusing = threading.Event(), False
        self._flowing.set()
        self._pairs: list[tuple[socket.socket, socket.socket]] = []
        threading.Thread(target=self._accept, daemon=True).start()

    def stall(self) -> None:
        """Take what comes, and pass nothing on: as a network that swallows, or a frozen server."""
        self._flowing.clear()

    def refuse(self) -> None:
        """Cut all connections, and every new one at once."""
        self._refusing = True
        self._cut()

    def flow(self) -> None:
        """Pass on again."""
        self._refusing = False
        self._flowing.set()

    def close(self) -> None:
        """End."""
        self._listening.close()
        self.flow()
        self._cut()

    def _cut(self) -> None:
        for pair in self._pairs:
            _close(*pair)
        self._pairs.clear()

    def _accept(self) -> None:
        while True:
            try:
                ours, _ = self._listening.accept()
                if self._refusing:
                    ours.close()
                    continue
                theirs = socket.create_connection(self._target)
            except OSError:
                return
            self._pairs.append((ours, theirs))
            for here, there in ((ours, theirs), (theirs, ours)):
                threading.Thread(target=self._pump, args=(here, there), daemon=True).start()

    def _pump(self, here: socket.socket, there: socket.socket) -> None:
        with suppress(OSError):
            while data := here.recv(65536):
                self._flowing.wait()
                there.sendall(data)
        _close(here, there)


def _close(*sockets: socket.socket) -> None:
    for one in sockets:
        with suppress(OSError):
            one.shutdown(socket.SHUT_RDWR)
        one.close()
