"""Many jobs on few threads, also where the machine gives fewer than were asked for."""

import queue
import threading

import pytest

from taly.clock import SystemClock
from taly.engine.tasks import Job, Tasks


def job(number: int) -> Job[int]:
    yield 0.05
    return number


def test_a_machine_short_of_threads_makes_it_slow_and_loses_nothing(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """A container's limit of processes counts threads as well."""
    start, left = threading.Thread.start, iter(range(3))

    def scarce(thread: threading.Thread) -> None:
        if thread.name == "taly-engine" and next(left, None) is None:
            raise RuntimeError("can't start new thread")
        start(thread)

    monkeypatch.setattr(threading.Thread, "start", scarce)
    ended: queue.SimpleQueue[object] = queue.SimpleQueue()
    tasks = Tasks(SystemClock())
    for number in range(20):
        tasks.spawn(job(number), ended.put)
    assert sorted(str(ended.get(timeout=10)) for _ in range(20)) == sorted(map(str, range(20)))
    tasks.close()


def test_a_machine_without_any_thread_says_so(monkeypatch: pytest.MonkeyPatch) -> None:
    tasks = Tasks(SystemClock())

    def none(thread: threading.Thread) -> None:
        raise RuntimeError("can't start new thread")

    monkeypatch.setattr(threading.Thread, "start", none)
    with pytest.raises(RuntimeError):
        tasks.spawn(job(1), print)
    tasks.close()
