"""Fan-out over threads with a deadline, in which one slow item hides no other."""

import queue
import threading
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Generic, TypeVar

T = TypeVar("T")
R = TypeVar("R")

MAX_THREADS = 64


@dataclass(frozen=True, slots=True)
class TimedOut:
    """The item had no result when the deadline came."""

    after_s: float


@dataclass(frozen=True, slots=True)
class Raised:
    """The item's function raised."""

    error: Exception


@dataclass(frozen=True, slots=True)
class Value(Generic[R]):
    """The item's result."""

    value: R


Result = Value[R] | Raised | TimedOut


def fan_out(
    work: Callable[[T], R], items: Sequence[T], *, timeout_s: float, threads: int = MAX_THREADS
) -> list[Result[R]]:
    """The result of `work` for each item, in order, after at most `timeout_s` real seconds.

    The threads are daemons: one that hangs in a vendor's read neither delays the answer nor keeps
    the process from ending.
    """
    todo: queue.SimpleQueue[tuple[int, T]] = queue.SimpleQueue()
    done: queue.SimpleQueue[tuple[int, Result[R]]] = queue.SimpleQueue()
    for pair in enumerate(items):
        todo.put(pair)

    def serve() -> None:
        while True:
            try:
                index, item = todo.get_nowait()
            except queue.Empty:
                return
            done.put((index, _attempt(work, item)))

    for _ in range(min(threads, len(items))):
        threading.Thread(target=serve, daemon=True).start()
    results: list[Result[R]] = [TimedOut(timeout_s)] * len(items)
    deadline = time.monotonic() + timeout_s
    for _ in items:
        try:
            index, result = done.get(timeout=max(0.0, deadline - time.monotonic()))
        except queue.Empty:
            break
        results[index] = result
    return results


def _attempt(work: Callable[[T], R], item: T) -> Result[R]:
    try:
        return Value(work(item))
    except Exception as error:
        return Raised(error)
