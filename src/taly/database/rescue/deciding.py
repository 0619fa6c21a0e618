"""What becomes of one rescued row: a merge of three, column by column. Pure."""

from collections.abc import Mapping, Set
from dataclasses import dataclass, field
from typing import Literal

from taly.database.rescue.table_file import RescuedRow

Value = str | None
Verdict = Literal["insert", "update", "delete", "nothing", "gone", "newer", "kept"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Decision:
    """What to do with a row, and what is left alone because it is newer."""

    verdict: Verdict
    """`gone`: somebody has deleted it since the rollback; `newer`: only newer values differ;
    `kept`: live had deleted it, and it stays."""
    values: dict[str, Value] = field(default_factory=dict)
    """The columns to insert or to set."""
    newer: dict[str, tuple[Value, Value]] = field(default_factory=dict)
    """Column → rescued value and the newer one, which stays."""


def decide(
    row: RescuedRow,
    now: Mapping[str, Value] | None,
    *,
    fresh: Mapping[str, Set[str]],
    key: tuple[str, ...] = (),
    deletes: bool = False,
) -> Decision:
    """Compare a rescued row with how it read after the rollback, and with how it reads now.

    `now` has the columns that there are (None = no such row), `fresh` what a column holds that
    nobody has written to, beside NULL. A value that was written since the rollback always stays.
    """
    if row.kind == "deleted":
        return _deleted(row, now, deletes)
    if now is None:
        if row.kind == "row" and row.base is None:
            return Decision(verdict="insert", values=row.row)
        return Decision(verdict="gone")
    values: dict[str, Value] = {}
    newer: dict[str, tuple[Value, Value]] = {}
    for name, rescued in row.row.items():
        if name in key or name not in now or now[name] == rescued:
            continue
        if _is_untouched(row, name, now[name], fresh.get(name, frozenset())):
            values[name] = rescued
        else:
            newer[name] = (rescued, now[name])
    verdict: Verdict = "update" if values else "newer" if newer else "nothing"
    return Decision(verdict=verdict, values=values, newer=newer)


def _is_untouched(row: RescuedRow, name: str, now: Value, fresh: Set[str]) -> bool:
    """Whether nobody has written this value since the rollback."""
    if row.base is not None and name in row.base:
        return now == row.base[name]
    if row.base is None and row.kind == "row":
        return False  # the row was not there after the rollback: all of it is newer
    return now is None or now in fresh


def _deleted(row: RescuedRow, now: Mapping[str, Value] | None, deletes: bool) -> Decision:
    if now is None:
        return Decision(verdict="nothing")
    then = row.row if row.base is None else row.base
    changed = {
        name: (then[name], now[name]) for name in then if name in now and now[name] != then[name]
    }
    if changed:
        return Decision(verdict="newer", newer=changed)
    return Decision(verdict="delete" if deletes else "kept")
