"""The vendor's pagination: newest first, `until` = the `next` of the page before."""

from collections.abc import Sequence
from typing import Any


def page_of(
    rows: Sequence[dict[str, Any]], *, more: bool = False, at: str = "createdAt"
) -> dict[str, Any]:
    """The `pagination` of a page of these rows; `next` is the time of its last one."""
    return {
        "count": len(rows),
        "next": rows[-1][at] if rows and more else None,
        "prev": rows[0][at] if rows else None,
    }
