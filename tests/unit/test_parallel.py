"""Fan-out: one slow item hides no other, and nothing waits for it."""

import threading

from taly.app.parallel import Raised, TimedOut, Value, fan_out


def test_results_stand_in_the_order_of_their_items() -> None:
    results = fan_out(lambda n: n * n, list(range(200)), timeout_s=10, threads=8)
    assert results == [Value(n * n) for n in range(200)]


def test_one_that_hangs_does_not_hide_the_others() -> None:
    never = threading.Event()

    def work(item: str) -> str:
        if item == "hangs":
            never.wait()
        if item == "breaks":
            raise ValueError(item)
        return item

    first, second, third = fan_out(work, ["hangs", "breaks", "works"], timeout_s=0.5)
    never.set()
    assert first == TimedOut(0.5)
    assert isinstance(second, Raised)
    assert third == Value("works")


def test_nothing_to_do_is_done() -> None:
    assert fan_out(str, [], timeout_s=1) == []
