"""Work that takes long, in a thread of its own, so that somebody can be told meanwhile."""

from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from concurrent.futures import TimeoutError as NotYet
from contextlib import suppress
from types import TracebackType
from typing import TypeVar

LOOK_S = 0.1

T = TypeVar("T")


class Beside:
    """One piece of work under way; `with` it, so that it never outlives us."""

    def __init__(self, work: Callable[[], T], stop: Callable[[], object]) -> None:
        """Begin. `stop` makes the work end early: it cancels its statement."""
        self._pool = ThreadPoolExecutor(1)
        self._future: Future[T] = self._pool.submit(work)
        self._stop = stop

    def __enter__(self) -> "Beside":
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        at: TracebackType | None,
    ) -> None:
        while not self._future.done():
            with suppress(Exception):  # what it is told to stop by may be what is broken
                self._stop()
            with suppress(Exception):
                self._future.result(LOOK_S)
        self._pool.shutdown()

    @property
    def is_over(self) -> bool:
        """Whether it has ended, well or not."""
        return self._future.done()

    def wait(self, tell: Callable[[], object]) -> None:
        """Return when it has ended well, telling several times a second; raises what it raised."""
        while True:
            tell()
            try:
                self._future.result(LOOK_S)
            except NotYet:
                if self._future.done():  # its own
                    raise
                continue
            return


def beside(
    work: Callable[[], object], *, tell: Callable[[], object], stop: Callable[[], object]
) -> None:
    """Do it in another thread; what `tell` raises ends it."""
    with Beside(work, stop) as under_way:
        under_way.wait(tell)
