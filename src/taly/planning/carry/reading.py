"""How a value of one type reads in another: an expression that never fails, and what it loses.

PostgreSQL's explicit casts cut a text that is too long, round a number and stop the whole query at
one that is too large. So each expression comes with a test, and what fails it stays as it is: the
row goes to the rescue bundle, as it was written.
"""

from collections.abc import Callable
from dataclasses import dataclass

from taly.planning.carry.shapes import Shape
from taly.planning.down.retype import BUILT_IN, SPELLED
from taly.planning.migrations.types import TEXTS

WHOLE = {"smallint": 15, "integer": 31, "bigint": 63}
"""Bits without the sign."""
DIGITS = {"smallint": 5, "integer": 10, "bigint": 19}
FLOATS = ("real", "double precision")
TIMES = ("timestamp", "timestamptz", "time", "timetz", "interval")
FINEST = 6
"""Digits of a second that PostgreSQL keeps where the type names none."""
REAL_RANGE = "1.17549436e-38 AND 3.40282346e38"
"""What a float8 cast to float4 neither overflows nor underflows at."""
DOUBLE_RANGE = "2.3e-308 AND 1.79e308"
NUMBER = r"^\s*[-+]?[0-9]{1,100}(\.[0-9]{0,100})?(e[-+]?[0-9]{1,3})?\s*$"
"""A text that a cast to numeric takes; not all of them."""


@dataclass(frozen=True, slots=True)
class Reading:
    """A value read in another type."""

    expression: str
    """Of type text."""
    exact: bool
    """Whether every value of the target's type comes back as it was from the source's type."""
    fits: str = ""
    """False for a value that the target's type cannot hold as it is; empty = none."""


def read(value: str, source: Shape, target: Shape) -> Reading:
    """Read `value`, an SQL expression of the source's type, in the target's type."""
    if source.is_array and target.is_array:
        return _array(value, source, target)
    for rule in RULES:
        found = rule(value, source, target)
        if found is not None:
            return found
    return Reading(as_text(value), exact=False)


def as_text(value: str) -> str:
    """The value as its own type prints it."""
    return f"({value})::text"


def _guarded(value: str, cast: str, fits: str) -> str:
    """The cast where it is safe, the value's own text elsewhere."""
    return f"CASE WHEN {fits} THEN {cast} ELSE {as_text(value)} END" if fits else cast


def _cast(value: str, target: Shape) -> str:
    return f"({value})::{target.base}::text"  # a domain's checks would stop the query


def stem_of(base: str) -> tuple[str, tuple[int, ...]]:
    """A type without its modifiers, and these."""
    stem, _, rest = base.partition("(")
    numbers, _, brackets = rest.partition(")")
    return stem + brackets, tuple(
        int(one) for one in numbers.split(",") if one.strip("- ").isdigit()
    )


def _to_text(value: str, source: Shape, target: Shape) -> Reading | None:
    (stem, limits), (new, new_limits) = stem_of(target.base), stem_of(source.base)
    if stem not in TEXTS:
        return None
    held = new in TEXTS and bool(new_limits) and bool(limits) and new_limits[0] <= limits[0]
    fits = f"char_length({as_text(value)}) <= {limits[0]}" if limits and not held else ""
    # json keeps the text as it was written, jsonb does not.
    exact = new in TEXTS or new == "json" or (source.enum is not None and not source.is_array)
    return Reading(as_text(value), exact=exact, fits=fits)


def _to_whole(value: str, source: Shape, target: Shape) -> Reading | None:
    stem, new = target.base, stem_of(source.base)[0]
    if stem not in WHOLE:
        return None
    low, end = -(2 ** WHOLE[stem]), 2 ** WHOLE[stem]
    inside = f">= {low} AND ({{0}}) < {end}"
    if new in WHOLE:
        narrower = WHOLE[stem] < WHOLE[new]
        fits = f"({value}) {inside.format(value)}" if narrower else ""
        return Reading(as_text(value), exact=True, fits=fits)
    if new == "numeric" or new in FLOATS:
        fits = f"({value}) {inside.format(value)} AND ({value}) = trunc({value})"
        exact = new == "numeric" or stem == "smallint" or (stem, new) == ("integer", FLOATS[1])
        return Reading(_guarded(value, _cast(value, target), fits), exact=exact, fits=fits)
    if new in TEXTS:
        number = f"({value})::numeric"
        fits = _if_number(value, f"{number} {inside.format(number)} AND {number} = trunc({number})")
        cast = _cast(number, target)
        return Reading(_guarded(value, cast, fits), exact=True, fits=fits)
    return None


def _if_number(value: str, test: str) -> str:
    """The test where a text is a plain number; CASE keeps the cast in it from any other text."""
    plain = f"{as_text(value)} ~ '^\\s*[-+]?[0-9]{{1,100}}(\\.[0-9]{{0,100}})?\\s*$'"
    return f"CASE WHEN {plain} THEN {test} WHEN ({value}) IS NOT NULL THEN false END"


def _to_numeric(value: str, source: Shape, target: Shape) -> Reading | None:
    (stem, limits), (new, new_limits) = stem_of(target.base), stem_of(source.base)
    if stem != "numeric":
        return None
    digits, scale = (*limits, 0)[:2] if limits else (0, 0)
    if new in WHOLE:
        fits = ""
        if limits and digits - scale < DIGITS[new]:
            fits = f"abs(({value})::numeric) < 1e{digits - scale}"
        exact = bool(limits) and scale <= 0  # one too large had stopped the migration
        return Reading(_guarded(value, _cast(value, target), fits), exact=exact, fits=fits)
    if new == "numeric":
        exact = not new_limits or (bool(limits) and (*new_limits, 0)[1] >= scale)
        fits = "" if not limits or _holds(limits, new_limits) else _in_range(value, digits, scale)
        return Reading(_guarded(value, _cast(value, target), fits), exact=exact, fits=fits)
    if new in TEXTS:
        number = f"({value})::numeric"
        fits = _if_number(value, _in_range(number, digits, scale)) if limits else ""
        cast = _cast(number, target)
        expression = _guarded(value, cast, fits) if fits else as_text(value)
        return Reading(expression, exact=True, fits=fits)
    return None


def _in_range(value: str, digits: int, scale: int) -> str:
    return (
        f"(({value}) = 'NaN' OR abs({value}) < 1e{digits - scale} "
        f"AND ({value}) = round({value}, {scale}))"
    )


def _holds(wide: tuple[int, ...], narrow: tuple[int, ...]) -> bool:
    """Whether numeric(wide) holds every value of numeric(narrow)."""
    if not narrow:
        return False
    (digits, scale), (less, fewer) = (*wide, 0)[:2], (*narrow, 0)[:2]
    return scale >= fewer and digits - scale >= less - fewer


def _to_float(value: str, source: Shape, target: Shape) -> Reading | None:
    if target.base not in FLOATS or source.base not in FLOATS:
        return None
    if target.base == "double precision":
        # By its text, since 0.1::real is not the float8 that prints as 0.1.
        return Reading(as_text(value), exact=False)
    safe = (
        f"(({value}) IN (0, 'NaN', 'Infinity', '-Infinity') OR abs({value}) BETWEEN {REAL_RANGE})"
    )
    fits = (
        f"CASE WHEN {safe} THEN ({value})::real::text = {as_text(value)} ELSE ({value}) IS NULL END"
    )
    return Reading(_guarded(value, _cast(value, target), fits), exact=True, fits=fits)


def _to_time(value: str, source: Shape, target: Shape) -> Reading | None:
    (stem, limits), (new, new_limits) = stem_of(target.base), stem_of(source.base)
    if stem == "date" and new == "timestamp":
        fits = f"({value})::date = ({value})"
        return Reading(_guarded(value, _cast(value, target), fits), exact=True, fits=fits)
    if stem not in TIMES or stem != new:
        return None
    digits, new_digits = (*limits, FINEST)[0], (*new_limits, FINEST)[0]
    fits = f"({value})::{target.base} = ({value})" if digits < new_digits else ""
    expression = _guarded(value, _cast(value, target), fits) if fits else as_text(value)
    return Reading(expression, exact=digits <= new_digits, fits=fits)


def _text_to_float(value: str, source: Shape, target: Shape) -> Reading | None:
    if target.base not in FLOATS or stem_of(source.base)[0] not in TEXTS:
        return None
    number, span = f"({value})::numeric", REAL_RANGE if target.base == "real" else DOUBLE_RANGE
    # Compared as they print: a float holds of a decimal only its first digits.
    same = f"({value})::{target.base}::text::numeric = {number}"
    inside = f"CASE WHEN abs({number}) BETWEEN {span} THEN {same} ELSE {number} = 0 END"
    words = f"lower(trim({as_text(value)})) IN ('nan', 'infinity', '-infinity')"
    plain = f"{as_text(value)} ~* '{NUMBER}'"
    fits = f"CASE WHEN {plain} THEN {inside} WHEN ({value}) IS NOT NULL THEN {words} END"
    return Reading(_guarded(value, _cast(value, target), fits), exact=True, fits=fits)


def _text_to_time(value: str, source: Shape, target: Shape) -> Reading | None:
    stem, limits = stem_of(target.base)
    if stem not in (*TIMES, "date") or stem_of(source.base)[0] not in TEXTS:
        return None
    digits = (*limits, FINEST)[0]
    finer = ":" if stem == "date" else f"\\.[0-9]{{{digits}}}[0-9]*[1-9]"
    return Reading(as_text(value), exact=True, fits=f"{as_text(value)} !~ '{finer}'")


def _from_text(value: str, source: Shape, target: Shape) -> Reading | None:
    stem = stem_of(target.base)[0]
    readable = stem in SPELLED or stem in ("json", "jsonb")
    if stem_of(source.base)[0] in TEXTS and readable:
        return Reading(as_text(value), exact=True)
    if stem == "jsonb" and source.base == "json":
        return Reading(as_text(value), exact=True)
    return None


def _same_base(value: str, source: Shape, target: Shape) -> Reading | None:
    """A domain over the type, or the other way round."""
    if source.base == target.base and source.composite == target.composite:
        return Reading(as_text(value), exact=True)
    return None


RULES: tuple[Callable[[str, Shape, Shape], Reading | None], ...] = (
    _same_base,
    _to_text,
    _to_whole,
    _to_numeric,
    _to_float,
    _to_time,
    _text_to_float,
    _text_to_time,
    _from_text,
)


def _array(value: str, source: Shape, target: Shape) -> Reading:
    """Element by element as to what fits; the text of the whole is read by the target's type."""
    one = read("e.v", source.element(), target.element())
    if not one.fits:
        return Reading(as_text(value), exact=one.exact)
    # Without NOT (…): a NULL element fits.
    fits = f"NOT EXISTS (SELECT FROM unnest({value}) AS e(v) WHERE ({one.fits}) IS FALSE)"
    return Reading(as_text(value), exact=one.exact, fits=fits)


def given(value: str, target: Shape) -> Reading:
    """What an expression of the team's gives, as the target's type prints it.

    It may round, since that is what it says; a text that is too long is not cut, and a number that
    is too large stops nothing.
    """
    (stem, limits), own = stem_of(target.base), as_text(value)
    element = stem_of(target.base.removesuffix("[]"))[0]
    if target.enum is not None or element not in BUILT_IN or element in TEXTS or element == "char":
        fits = f"char_length({own}) <= {limits[0]}" if limits and not target.is_array else ""
        return Reading(own, exact=True, fits=fits)
    number, inside = f"({own})::numeric", ""
    if stem in WHOLE:
        inside = f"{number} >= {-(2 ** WHOLE[stem])} AND {number} < {2 ** WHOLE[stem]}"
    elif stem == "numeric" and limits:
        digits, scale = (*limits, 0)[:2]
        inside = f"abs(round({number}, {scale})) < 1e{digits - scale}"
    cast = _cast(value, target)
    if not inside:
        return Reading(cast, exact=True)
    plain = f"{own} ~* '{NUMBER}'"
    fits = f"CASE WHEN {plain} THEN {inside} END"
    return Reading(f"CASE WHEN ({fits}) IS FALSE THEN {own} ELSE {cast} END", exact=True, fits=fits)
