"""Networks that a test can cut: real ones between namespaces where the machine allows it.

A `Line` is one way from a worker to one service. In a namespace it is a veth pair of its own, and
cutting it takes the link down: packets vanish in both directions, nobody is told. Where namespaces
are not allowed it is a TCP proxy on loopback that stops to pass anything on, both ways.
"""

import os
import select
import socket
import subprocess
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from itertools import count

_numbers = count()


class Proxy:
    """Passes TCP connections on to a service; holds everything back while it is stalled."""

    def __init__(self, host: str, to: tuple[str, int]) -> None:
        self._to = to
        self._flows = threading.Event()
        self._flows.set()
        self._ended = False
        self._listener = socket.create_server((host, 0))
        self.address: tuple[str, int] = self._listener.getsockname()[:2]
        self._threads = [threading.Thread(target=self._accept, daemon=True)]
        self._threads[0].start()

    def stall(self) -> None:
        self._flows.clear()

    def flow(self) -> None:
        self._flows.set()

    def close(self) -> None:
        self._ended = True
        self._flows.set()
        for thread in self._threads:
            thread.join(5)
        self._listener.close()

    def _accept(self) -> None:
        while not self._ended:
            if not select.select([self._listener], [], [], 0.1)[0]:
                continue
            here, _ = self._listener.accept()
            pump = threading.Thread(target=self._pump, args=(here,), daemon=True)
            self._threads.append(pump)
            pump.start()

    def _pump(self, here: socket.socket) -> None:
        self._flows.wait()
        with here, suppress(OSError), socket.create_connection(self._to, timeout=5) as there:
            other = {here: there, there: here}
            while not self._ended:
                for one in select.select([here, there], [], [], 0.1)[0]:
                    data = one.recv(65536)
                    self._flows.wait()
                    if not data:
                        return
                    other[one].sendall(data)


def ip(*words: str) -> None:
    """Run `ip`; its words are in the error when it fails."""
    subprocess.run(["ip", *words], check=True, capture_output=True, text=True)


def namespaces_allowed() -> bool:
    """Whether this machine lets us make network namespaces and links between them."""
    name = f"taly-try-{os.getpid()}"
    try:
        ip("netns", "add", name)
    except (OSError, subprocess.CalledProcessError):
        return False
    try:
        ip("link", "add", f"tt{os.getpid()}", "type", "veth", "peer", "name", "p0", "netns", name)
    except subprocess.CalledProcessError:
        return False
    finally:
        ip("netns", "del", name)
    return True


@dataclass
class Line:
    """One worker's way to one service."""

    address: tuple[str, int]
    """Where the worker reaches it."""
    proxy: Proxy
    link: str = ""
    """Our end of the veth pair; empty without namespaces."""

    def cut(self) -> None:
        """From now on nothing comes through, in either direction."""
        if self.link:
            ip("link", "set", self.link, "down")
        else:
            self.proxy.stall()

    def mend(self) -> None:
        """As before the cut."""
        if self.link:
            ip("link", "set", self.link, "up")
        else:
            self.proxy.flow()


@dataclass
class Place:
    """Where one worker runs: a machine of its own, as far as the network goes."""

    lines: dict[str, Line]
    prefix: list[str] = field(default_factory=list)
    """What stands before a command that shall run there."""


@contextmanager
def place(services: dict[str, tuple[str, int]], *, namespace: bool) -> Iterator[Place]:
    """A place from which these services (name → address) are reached, each by a line of its own."""
    made: list[Line] = []
    name = f"taly-{os.getpid()}-{next(_numbers)}"
    if namespace:
        ip("netns", "add", name)
    try:
        lines = {}
        for service, to in services.items():
            made.append(_veth(name, to) if namespace else _loopback(to))
            lines[service] = made[-1]
        prefix = ["ip", "netns", "exec", name] if namespace else []
        yield Place(lines=lines, prefix=prefix)
    finally:
        for line in made:
            line.proxy.close()
        if namespace:
            ip("netns", "del", name)


def _loopback(to: tuple[str, int]) -> Line:
    proxy = Proxy("127.0.0.1", to)
    return Line(address=proxy.address, proxy=proxy)


def _veth(namespace: str, to: tuple[str, int]) -> Line:
    number = next(_numbers)
    link, subnet = f"tl{os.getpid() % 100000}-{number}", f"10.{os.getpid() % 200 + 23}.{number}"
    ip("link", "add", link, "type", "veth", "peer", "name", f"t{number}", "netns", namespace)
    ip("addr", "add", f"{subnet}.1/30", "dev", link)
    ip("link", "set", link, "up")
    ip("-n", namespace, "addr", "add", f"{subnet}.2/30", "dev", f"t{number}")
    ip("-n", namespace, "link", "set", f"t{number}", "up")
    proxy = Proxy(f"{subnet}.1", to)
    return Line(address=proxy.address, proxy=proxy, link=link)
