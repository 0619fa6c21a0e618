"""PostgreSQL's own parser, which refuses what it cannot hand over in one way only."""

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
