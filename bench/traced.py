"""`python -m bench.traced FILE COMMAND…`: a taly command that notes when it waited for whom.

Only the few functions that send requests are wrapped; nothing else of the command is changed. The
times are written to FILE as JSON when it ends, in seconds since the process began.
"""

import importlib.util
import json
import os
import sys
import threading
import time
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextvars import ContextVar, copy_context
from functools import partial
from pathlib import Path
from typing import Any

SENDERS = (
    ("httpx2", "Client", "send"),
    ("botocore.httpsession", "URLLib3Session", "send"),
    ("psycopg", "Connection", "connect"),
    ("psycopg", "Connection", "execute"),
    ("psycopg", "Cursor", "execute"),
)
OBSERVERS = (
    ("taly.providers.apprunner", "AppRunnerProvider"),
    ("taly.providers.netlify", "NetlifyProvider"),
    ("taly.providers.vercel", "VercelProvider"),
    ("taly.providers.serverless", "ServerlessProvider"),
    ("taly.database.provider", "PostgresProvider"),
)


ABOUT: ContextVar[str] = ContextVar("about", default="")
"""The component that is being observed; empty = none, e.g. while applications are asked."""


class Trace:
    """Who waited when, and about which component."""

    def __init__(self) -> None:
        self.requests: list[tuple[str, float, float]] = []
        self._lock = threading.Lock()
        self._zero = time.perf_counter() - _age_s()

    def now(self) -> float:
        """Seconds since the process began."""
        return time.perf_counter() - self._zero

    def request(self, start: float) -> None:
        """One request that ends now."""
        with self._lock:
            self.requests.append((ABOUT.get(), start, self.now()))


def _age_s() -> float:
    """Seconds since the operating system made this process."""
    try:
        fields = Path("/proc/self/stat").read_text().rpartition(")")[2].split()
        ticks = int(fields[19])
    except OSError:
        return 0.0
    return time.clock_gettime(time.CLOCK_BOOTTIME) - ticks / os.sysconf("SC_CLK_TCK")


def wrap(trace: Trace) -> None:
    """Have the senders and the providers' `observe` noted, once their modules are imported."""
    for module in dict.fromkeys(module for module, _, _ in SENDERS):
        methods = [(owner, method) for name, owner, method in SENDERS if name == module]
        _when_imported(module, partial(_wrap_senders, methods=methods, trace=trace))
    for module, owner in OBSERVERS:
        _when_imported(module, partial(_wrap_observer, owner=owner))
    _keep_context()


def _wrap_senders(module: Any, methods: Sequence[tuple[str, str]], trace: Trace) -> None:
    for owner, method in methods:
        _wrap_sender(module, owner, method, trace)


def _wrap_sender(module: Any, owner: str, method: str, trace: Trace) -> None:
    kind = getattr(module, owner)
    original = getattr(kind, method)
    inner = original.__func__ if hasattr(original, "__func__") else original

    def send(*arguments: Any, **named: Any) -> Any:
        start = trace.now()
        try:
            return inner(*arguments, **named)
        finally:
            trace.request(start)

    setattr(kind, method, classmethod(send) if inner is not original else send)


def _wrap_observer(module: Any, owner: str) -> None:
    kind = getattr(module, owner)
    original = kind.observe

    def observe(self: Any, component: Any) -> Any:
        about = ABOUT.set(component.name)
        try:
            return original(self, component)
        finally:
            ABOUT.reset(about)

    kind.observe = observe


def _keep_context() -> None:
    """Have a provider's own threads know which component they work for."""
    submit = ThreadPoolExecutor.submit

    def with_context(self: Any, work: Any, /, *arguments: Any, **named: Any) -> Any:
        return submit(self, copy_context().run, work, *arguments, **named)

    ThreadPoolExecutor.submit = with_context  # this process's alone


def _when_imported(name: str, then: Callable[[Any], None]) -> None:
    """Call `then` with the module right after its import: importing it here would cost time."""
    sys.meta_path.insert(0, _Finder(name, then))


class _Finder:
    def __init__(self, name: str, then: Callable[[Any], None]) -> None:
        self._name, self._then = name, then

    def find_spec(self, name: str, path: Any = None, target: Any = None) -> Any:
        """Find the module as usual, with `then` added to its execution."""
        if name != self._name:
            return None
        sys.meta_path.remove(self)
        spec = importlib.util.find_spec(name)
        assert spec is not None
        assert spec.loader is not None
        execute = spec.loader.exec_module

        def exec_module(module: Any) -> None:
            execute(module)
            self._then(module)

        spec.loader.exec_module = exec_module  # this spec's alone
        return spec


def main() -> int:
    """Run the command; its exit code."""
    file, arguments = Path(sys.argv[1]), sys.argv[2:]
    trace = Trace()
    wrap(trace)
    from taly.cli.main import run

    code = run(arguments)
    said = {"requests": trace.requests, "ended": trace.now()}
    file.write_text(json.dumps(said), "utf-8")
    return code


if __name__ == "__main__":
    sys.exit(main())
