"""Which live rows hold something that the old schema has no place for, as SQL conditions."""

from collections.abc import Mapping
from dataclasses import dataclass

from taly.planning.carry import ColumnPair, Correspondence, SplitColumn, TablePair
from taly.planning.down.names import quoted, text_literal


@dataclass(frozen=True, slots=True, kw_only=True)
class Misfit:
    """What to look for in one table."""

    condition: str
    """Over a row called `s`; true when something of it has to be rescued."""
    why: str


def misfits(found: Correspondence) -> Mapping[tuple[str, str], Misfit]:
    """Live table → what of its rows does not fit; tables whose rows all fit are left out."""
    whole = {
        extra.table: Misfit(condition="true", why="the old schema has no such table")
        for extra in found.only_source
    }
    parts = {pair.source: _of_pair(pair) for pair in found.tables}
    return {**whole, **{table: one for table, one in parts.items() if one is not None}}


def _of_pair(pair: TablePair) -> Misfit | None:
    conditions = [_lost(column) for column in pair.split]
    reasons = []
    if pair.split:
        names = ", ".join(column.name for column in pair.split)
        reasons.append(f"the old schema has no {names}")
    for column in pair.columns:
        if column.labels and column.how != "hinted" and not column.type.endswith("[]"):
            known = ", ".join(text_literal(label) for label in column.labels)
            conditions.append(f"({column.expression}) <> ALL (ARRAY[{known}]::text[])")
            reasons.append(f"{_name(column)} has a label that the old schema does not know")
        if column.fits:
            conditions.append(f"NOT ({column.fits})")
            reasons.append(f"{_name(column)} does not fit {column.type}")
    if not conditions:
        return None
    return Misfit(condition=" OR ".join(f"({one})" for one in conditions), why="; ".join(reasons))


def _lost(column: SplitColumn) -> str:
    name = f"s.{quoted(column.name)}"
    if not column.default:
        return f"{name} IS NOT NULL"
    # As text: not every type can be compared.
    return f"{name}::text IS DISTINCT FROM (({column.default})::{column.type})::text"


def _name(column: ColumnPair) -> str:
    return column.source or column.target
