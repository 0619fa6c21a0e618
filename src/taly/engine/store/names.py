"""Run ids: short, sortable by age, easy to read out on the telephone."""

import time

ALPHABET = "0123456789abcdefghjkmnpqrstvwxyz"
"""Crockford's base 32: no i, l, o, u."""
EPOCH_S = 1_735_689_600
"""2025-01-01; six letters last for 34 years."""
LENGTH = 6


def run_id_after(newest: str | None, now_s: float | None = None) -> str:
    """An id for a run that begins now: the present second, or the one after the newest id's."""
    second = int((time.time() if now_s is None else now_s) - EPOCH_S)
    if newest is not None:
        second = max(second, _number(newest) + 1)
    return "run-" + "".join(ALPHABET[second >> 5 * place & 31] for place in reversed(range(LENGTH)))


def _number(run_id: str) -> int:
    number = 0
    for letter in run_id.removeprefix("run-"):
        number = number << 5 | ALPHABET.index(letter)
    return number
