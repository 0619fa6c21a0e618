"""Which table, column, type and label of the old schema is which of the new one.

Nothing is guessed: a column that was dropped and one that was added stay two columns, however
alike they look.
"""

from collections.abc import Iterable, Iterator, Sequence
from typing import Any

from taly.model.catalog import Catalog, Enum, Table
from taly.planning.carry.model import Matched, MatchedEnum, MatchedTable
from taly.planning.carry.played import Played, played


def pairs(
    before: Catalog,
    live: Catalog,
    *,
    same_database: bool,
    texts: Sequence[tuple[str, str]],
    schema: str,
) -> Matched:
    """Match the catalog from before the migrations with the live one.

    `same_database`: both were read from the same database, so OIDs and column numbers tell renames
    exactly. Else `texts` (name and SQL of the migrations between, oldest first; empty SQL = not
    known) are played; what they hide is matched by name. `schema` is where names without one lie.
    """
    story = played(before, texts, schema)
    followed = bool(texts) and not story.hidden
    _, after = story.mirror.catalogs(before)
    tables = _by_play(before.tables, after.tables, live.tables)
    enums = _by_play(before.enums, after.enums, live.enums)
    if same_database:
        # What has another number although no migration made it anew was put back by a way down.
        more = tables if followed else []
        tables = _joined(_by_oid(before.tables, live.tables), more)
        enums = _by_oid(before.enums, live.enums)
    # A type holds no rows: one that was made anew under the old name takes its place.
    enums = [*enums, *_by_name(before.enums, live.enums, enums)]
    made = story.mirror.now["tables"]

    def columns(old: Table, new: Table) -> Pairs:
        told = _columns_by_play(old, new, made[old.oid]) if old.oid in made else []
        if same_database and old.oid == new.oid:
            return _joined(_columns_by_number(old, new), told if followed else [])
        return told

    others = _by_oid(before.others, live.others) if same_database else []
    named = {one.name for one in live.others}
    return Matched(
        tables=tuple(_table(old, new, columns(old, new)) for old, new in tables),
        enums=tuple(
            _enum(old, new, story, same=same_database and old.oid == new.oid) for old, new in enums
        ),
        types=tuple(
            {
                **{one.name: one.name for one in before.others if one.name in named},
                **{old.name: new.name for old, new in others},
            }.items()
        ),
        overwritten=tuple(story.overwritten),
        computed=tuple((table, column, by) for (table, column), by in story.computed.items()),
        followed=followed,
    )


Pairs = list[tuple[Any, Any]]


def _name(one: Any) -> tuple[str, str]:
    return (one.schema, one.name)


def _by_oid(before: Iterable[Any], live: Iterable[Any]) -> Pairs:
    now = {one.oid: one for one in live}
    return [(one, now[one.oid]) for one in before if one.oid in now]


def _by_play(before: Sequence[Any], after: Sequence[Any], live: Sequence[Any]) -> Pairs:
    """By what the migrations made of it; what they do not account for, by its own name."""
    then = {one.oid: one for one in before}
    made = {_name(one): one for one in after}
    found = [
        (then[made[_name(one)].oid], one)
        for one in live
        if _name(one) in made and made[_name(one)].oid in then
    ]
    left = [then[one.oid] for one in after if one.oid in then]  # not those that were dropped
    unknown = [one for one in live if _name(one) not in made]
    return [*found, *_by_name(left, unknown, found)]


def _joined(sure: Pairs, more: Pairs) -> Pairs:
    """The sure ones, and those of the others whose sides are both left over."""
    then, now = {id(old) for old, _ in sure}, {id(new) for _, new in sure}
    return [*sure, *((old, new) for old, new in more if id(old) not in then and id(new) not in now)]


def _by_name(before: Iterable[Any], live: Iterable[Any], found: Pairs) -> Pairs:
    """Those of the same name that have no partner yet."""
    then, now = {old.oid for old, _ in found}, {id(new) for _, new in found}
    left = {_name(one): one for one in before if one.oid not in then}
    return [(left[_name(one)], one) for one in live if id(one) not in now and _name(one) in left]


def _table(before: Table, live: Table, columns: Pairs) -> MatchedTable:
    names = tuple((old.name, new.name) for old, new in columns)
    return MatchedTable(before=_name(before), live=_name(live), columns=names)


def _columns_by_number(before: Table, live: Table) -> Pairs:
    now = {one.attnum: one for one in live.columns}
    return [(one, now[one.attnum]) for one in before.columns if one.attnum in now]


def _columns_by_play(before: Table, live: Table, after: Table) -> Pairs:
    played_columns = {one.attnum: one.name for one in after.columns}
    now = {one.name: one for one in live.columns}
    accounted = set(played_columns.values())
    found = []
    for one in before.columns:
        name = played_columns.get(one.attnum)
        if name is None:
            continue  # dropped: one that has its name by now is another
        there = now.get(name)
        if there is None and one.name not in accounted:
            there = now.get(one.name)
        if there is not None:
            found.append((one, there))
    return found


def _enum(before: Enum, live: Enum, story: Played, *, same: bool) -> MatchedEnum:
    told = {old: now for now, old in story.labels.get(before.oid, {}).items()}
    renamed = any(old != now for old, now in told.items())
    labels: Iterable[tuple[str, str]]
    if renamed and set(told.values()) <= set(live.labels):
        labels = told.items()
    elif same:
        labels = _in_place(before.labels, live.labels)
    else:
        labels = [(label, label) for label in before.labels if label in live.labels]
    return MatchedEnum(before=_name(before), live=_name(live), labels=tuple(labels))


def _in_place(before: Sequence[str], live: Sequence[str]) -> Iterator[tuple[str, str]]:
    """Labels of one type at two times: PostgreSQL drops none and keeps their order.

    Between two labels that kept their names as many as before are the same ones; where some were
    added too, which one was renamed is not known, and none is taken for it.
    """
    if len(before) == len(live):
        yield from zip(before, live, strict=True)
        return
    anchors = [label for label in before if label in live]
    for old, new in zip(_runs(before, anchors), _runs(live, anchors), strict=True):
        if len(old) == len(new):
            yield from zip(old, new, strict=True)
    yield from ((label, label) for label in anchors)


def _runs(labels: Sequence[str], anchors: Sequence[str]) -> list[list[str]]:
    """The labels between those, in order."""
    runs: list[list[str]] = [[]]
    for label in labels:
        if label in anchors:
            runs.append([])
        else:
            runs[-1].append(label)
    return runs
