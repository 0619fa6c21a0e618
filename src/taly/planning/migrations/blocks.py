"""DO blocks that hold nothing but plain statements: then they can be read like any other."""

from typing import Any

from postgast import PgQueryError, parse_plpgsql

QUIET = frozenset({"PLpgSQL_stmt_return"})
ALREADY_THERE = frozenset({"duplicate_object", "duplicate_table", "duplicate_column"})
"""Conditions after which an object that should be made was there already."""


def statements_in(body: str, *, complete: bool) -> list[str] | None:
    """The statements that a DO block runs, in order; None when that depends or is computed.

    A handler for `duplicate_object` and the like is read as IF NOT EXISTS, which needs to be known
    (`complete`): it stands around one statement only, since it takes the whole block back.
    """
    try:
        parsed = parse_plpgsql(f"DO $taly_do${body}$taly_do$")
    except PgQueryError:
        return None
    action = parsed[0]["PLpgSQL_function"].get("action", {})
    return _block(action.get("PLpgSQL_stmt_block", {}), complete=complete)


def _block(block: dict[str, Any], *, complete: bool) -> list[str] | None:
    found: list[str] = []
    for wrapped in block.get("body", ()):
        [(kind, inner)] = wrapped.items()
        if kind in QUIET:
            continue
        if kind == "PLpgSQL_stmt_execsql":
            found.append(str(inner["sqlstmt"]["PLpgSQL_expr"]["query"]))
            continue
        nested = _block(inner, complete=complete) if kind == "PLpgSQL_stmt_block" else None
        if nested is None:
            return None
        found += nested
    handlers = block.get("exceptions", {}).get("PLpgSQL_exception_block", {}).get("exc_list", ())
    if handlers and not (complete and len(found) == 1 and all(map(_is_no_op, handlers))):
        return None
    return found


def _is_no_op(handler: dict[str, Any]) -> bool:
    exception = handler["PLpgSQL_exception"]
    names = {condition["PLpgSQL_condition"]["condname"] for condition in exception["conditions"]}
    return not exception.get("action") and names <= ALREADY_THERE
