"""Which transaction is newer, when of each only the last 32 bits are known."""

from hypothesis import given
from hypothesis import strategies as st

from taly.database.carry.model import HALF, WHOLE, Since, newer

FROZEN = 2


def test_naive_3_a_plain_comparison_is_wrong_after_the_counter_has_run_over() -> None:
    since, now = 7 * WHOLE - 100, 7 * WHOLE + 500
    written_after = (7 * WHOLE + 10) % WHOLE
    written_before = (7 * WHOLE - 200) % WHOLE
    assert written_after < since % WHOLE < written_before or written_before < since % WHOLE
    assert newer(written_after, since, now)
    assert not newer(written_before, since, now)


def test_naive_3_frozen_rows_are_old() -> None:
    assert not newer(FROZEN, 1000, 2000)
    assert not newer(1, 1000, 2000)


@given(st.integers(3, 2**40), st.integers(0, HALF - 1), st.data())
def test_no_new_row_is_missed_and_no_younger_old_one_taken(
    since: int, later: int, data: st.DataObject
) -> None:
    now = since + later
    xmin = data.draw(st.integers(max(3, now - HALF + 1), now))
    if xmin % WHOLE >= 3:
        assert newer(xmin % WHOLE, since, now) == (xmin >= since)


def test_since_cannot_be_used_when_it_is_too_long_ago_or_not_yet_there() -> None:
    since = Since(xmin=1000, window_end=None, snapshot="")
    assert since.usable(1000)
    assert since.usable(1000 + HALF - 1)
    assert not since.usable(1000 + HALF)
    assert not since.usable(999)
