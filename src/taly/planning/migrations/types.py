"""Column types: which changes an old client does not notice, and which can be taken back."""

import re
from typing import NamedTuple

TEXTS = frozenset({"text", "varchar", "citext"})
WHOLE = {"smallint": 1, "integer": 2, "bigint": 3}
FLOATS = {"real": 1, "double precision": 2}


class Retype(NamedTuple):
    """What a change of type means."""

    breaks: bool
    undo: str
    why: str


def retype(before: str, after: str, *, rewritten: bool) -> Retype:
    """Judge a change of type; `rewritten` when a USING expression computed new values."""
    if before == after:
        return Retype(breaks=False, undo="data" if rewritten else "automatic", why="")
    result = _widening(before, after) or _other(before, after)
    if rewritten:
        return Retype(breaks=result.breaks, undo="data", why="its values were computed anew")
    return result


def _widening(before: str, after: str) -> Retype | None:
    """The changes that old reads and writes survive."""
    (stem, limits), (new_stem, new_limits) = _parts(before), _parts(after)
    for family in (WHOLE, FLOATS):
        if stem in family and new_stem in family and family[new_stem] > family[stem]:
            return Retype(breaks=False, undo="automatic", why="wider: old values and writes fit")
    if stem in TEXTS and new_stem in TEXTS:
        why = "text stays text"
        if new_limits and (not limits or new_limits[0] < limits[0]):
            why = f"text stays text; longer than {new_limits[0]} is refused"
        return Retype(breaks=False, undo="automatic", why=why)
    if stem == new_stem == "numeric" and _holds(limits, new_limits):
        return Retype(breaks=False, undo="automatic", why="wider: old values and writes fit")
    return None


def _other(before: str, after: str) -> Retype:
    if not before:
        return Retype(breaks=True, undo="data", why="the type before it is not known")
    stem, limits = _parts(after)
    if stem in TEXTS and not limits:
        why = "old reads get text; every value can be cast back"
        return Retype(breaks=True, undo="automatic", why=why)
    return Retype(breaks=True, undo="data", why="the type comes back, the original values do not")


def _holds(limits: tuple[int, ...], new_limits: tuple[int, ...]) -> bool:
    """Whether numeric(new) holds every value of numeric(old)."""
    if not new_limits:
        return True
    if not limits:
        return False
    digits, scale = (*limits, 0)[:2]
    new_digits, new_scale = (*new_limits, 0)[:2]
    return new_scale >= scale and new_digits - new_scale >= digits - scale


def _parts(text: str) -> tuple[str, tuple[int, ...]]:
    found = re.fullmatch(r"([^(]*)(?:\(([-\d,]*)\))?(.*)", text)
    assert found is not None, "matches every text"
    stem, modifiers, rest = found.groups()
    return stem + rest, tuple(int(number) for number in (modifiers or "").split(",") if number)
