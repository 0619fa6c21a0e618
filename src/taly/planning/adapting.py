"""Column hints on the way down of a migration: which column gets which value, and what that lifts.

A restore carries rows into the old schema, and reads them by the hints on the way. A revert leaves
rows where they are: so the values are worked out from the live row, and set once the column is as
it was.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace

from taly.model.catalog import Catalog, Column, Table
from taly.planning.carry.corresponding import correspond
from taly.planning.carry.hints import Found, sort_out
from taly.planning.carry.keys import keys
from taly.planning.carry.model import ColumnPair, Hint, Matched
from taly.planning.down.columns import no_way_back, required_guard
from taly.planning.down.model import Down
from taly.planning.down.types import label_guard


@dataclass(frozen=True, slots=True, kw_only=True)
class Adapted:
    """A column of which a hint says how its live values read in the old schema."""

    live: Table
    before: Table
    now: Column | None
    """As it is live; None = the migration dropped it."""
    column: Column
    """As it was before the migration."""
    hint: Hint
    expression: str
    """SQL over a live row `s`: the old value as text."""
    labels: tuple[str, ...] = ()
    """Labels that the old type does not know, and that the hint maps."""

    @property
    def converts(self) -> bool:
        """Whether the column's type changes, so that its values must not be in the way."""
        return self.now is not None and (bool(self.labels) or self.now.type != self.column.type)

    @property
    def only_empty(self) -> bool:
        """Whether only rows without a value get one."""
        return not self.hint.transform and not self.labels

    def lifts(self) -> Iterator[str]:
        """The questions of guards that bar nothing any more."""
        if self.now is None:
            return
        yield from (label_guard(self.live, self.now, label) for label in self.labels)
        if self.hint.fill or self.hint.transform:
            yield required_guard(self.live, self.now)

    def mends(self, gap: str) -> bool:
        """Whether what the way down lacks is a cast, which the hint gives."""
        return bool(self.hint.transform) and gap.startswith(no_way_back(self.before, self.column))

    def __str__(self) -> str:
        return f"{self.hint.column} is read by your hint; what was live goes to the rescue bundle"


def adapted(
    hints: Sequence[Hint], live: Catalog, before: Catalog, matched: Matched
) -> tuple[Adapted, ...]:
    """The columns that hints make readable on the way from `live` to `before`.

    Only of tables whose primary key both schemas have: else nobody could say which row is which.
    """
    if not hints:
        return ()
    by_column = sort_out(hints, before.tables)
    tables = {(one.schema, one.name): one for one in before.tables}
    now = {(one.schema, one.name): one for one in live.tables}
    found = []
    for pair in correspond(live, before, matched, hints).tables:
        table, was = now[pair.source], tables[pair.target]
        if _has_key(table, [one.source for one in pair.columns if one.how in ("same", "renamed")]):
            made = (_adapted(table, was, one, by_column) for one in pair.columns)
            found += [one for one in made if one is not None]
    return tuple(found)


def eased(down: Down, columns: Sequence[Adapted]) -> Down:
    """The way down without what the hints lift; a script of the team's sees to itself."""
    if down.source == "team" or not columns:
        return down
    lifted = {query for one in columns for query in one.lifts()}
    return replace(
        down,
        gaps=tuple(gap for gap in down.gaps if not any(one.mends(gap) for one in columns)),
        guards=tuple(guard for guard in down.guards if guard.query not in lifted),
    )


def _has_key(table: Table, kept: Sequence[str]) -> bool:
    if not any(one.kind == "primary" for one in table.constraints):
        return False
    return set(next(keys(table), ("",))) <= set(kept)


def _adapted(live: Table, before: Table, pair: ColumnPair, hints: Found) -> Adapted | None:
    hint = hints.by_column.get(((before.schema, before.name), pair.target))
    if hint is None or pair.how != "hinted":
        return None
    column = next(one for one in before.columns if one.name == pair.target)
    now = next((one for one in live.columns if one.name == pair.source), None)
    new = tuple(label for label, _ in hint.enum_map if label not in pair.labels)
    return Adapted(
        live=live,
        before=before,
        now=now,
        column=column,
        hint=hint,
        expression=pair.expression,
        labels=new if now is not None and not hint.transform else (),
    )
