"""Changes of a column's type: which keep every value, and how a column gets its old type back."""

from taly.planning.down.names import normal, quoted
from taly.planning.migrations.types import TEXTS, retype

SPELLED = frozenset(
    {"smallint", "integer", "bigint", "numeric", "boolean", "uuid", "real", "double precision"}
    | {"date", "timestamp", "timestamptz", "time", "timetz", "interval", "inet", "cidr", "bytea"}
)
"""Types whose text leads back to the same value."""


def is_kept(before: str, after: str) -> bool:
    """Whether a plain cast from `before` to `after` keeps what every value means."""
    old, new = normal(before), normal(after)
    if old == new:
        return True
    if _stem(new) in TEXTS:
        return _stem(old) in TEXTS or _is_spelled(old) or _is_named(old)
    if _is_named(old) and _is_named(new):
        return True  # enum to enum: a label that is missing fails loudly
    return not retype(old, new, rewritten=False).breaks


def way_back(column: str, before: str, after: str) -> str | None:
    """What follows `ALTER COLUMN x` to give it its old type; None when no cast is sure.

    A value that does not fit fails loudly: nothing is cut or rounded.
    """
    old, new = normal(before), normal(after)
    name, head = quoted(column), f"TYPE {before}"
    if _stem(old) in TEXTS:
        # Without USING: an assignment refuses what a cast to varchar(n) would cut.
        return head if _stem(new) in TEXTS else f"{head} USING {name}::text"
    if _is_named(old) and (_is_named(new) or _stem(new) in TEXTS):
        return f"{head} USING {name}::text::{before}"
    if _stem(new) in TEXTS and (_is_spelled(old) or "json" in old):
        return f"{head} USING {name}::{before}"
    whole = {"smallint", "integer", "bigint"}
    if old in whole and new in whole:
        return head  # out of range is an error
    if not retype(new, old, rewritten=False).breaks:
        return head  # wider on the way down
    return None


def _stem(text: str) -> str:
    return text.partition("(")[0]


def _is_spelled(text: str) -> bool:
    return _stem(text) in SPELLED


def _is_named(text: str) -> bool:
    """Whether it is a type that the application made: an enum, in all that Prisma writes."""
    return text[:1].isupper() or ("[" not in text and _stem(text) not in BUILT_IN)


BUILT_IN = (
    SPELLED
    | TEXTS
    | {"char", "json", "jsonb", "xml", "money", "bit", "varbit", "oid", "name", "jsonpath"}
    | {"point", "line", "box", "path", "polygon", "circle", "lseg", "macaddr", "macaddr8"}
    | {"tsvector", "tsquery", "int4range", "int8range", "numrange", "tsrange", "tstzrange"}
    | {"daterange"}
)
