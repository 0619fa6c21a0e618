"""PostgreSQL's own parser, which refuses what it cannot hand over in one way only."""

from collections.abc import Iterator
from typing import Any

import postgast
from google.protobuf.message import DecodeError
from postgast import PgQueryError


def parse(sql: str) -> Any:
    """The syntax tree of some statements, as postgast gives it.

    Raises PgQueryError when the text is no SQL, and when it is nested so deeply (some hundred
    operators in a row do) that the tree cannot be read: protobuf's limit, not PostgreSQL's.
    """
    try:
        return postgast.parse(sql)
    except DecodeError:
        raise PgQueryError("it is nested too deeply to be read") from None


def statements(sql: str) -> Iterator[Any]:
    """A text's statements, as `parse` gives them; ValueError when it does not parse."""
    try:
        parsed = parse(sql)
    except PgQueryError as error:
        raise ValueError(str(error)) from error
    for raw in parsed.stmts:
        yield raw.stmt


def not_examined(kind: str) -> str:
    """What is said of a kind of statement that nobody here knows."""
    return f"a statement not examined ({kind.removesuffix('_stmt').replace('_', ' ')})"
