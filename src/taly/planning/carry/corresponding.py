"""Which rows go where: the live database's tables over against those of the other one."""

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from postgast import PgQueryError

from taly.model.catalog import Catalog, Column, Table
from taly.planning.carry.columns import Columns, Link, shown
from taly.planning.carry.hints import sort_out
from taly.planning.carry.keys import keys
from taly.planning.carry.model import (
    ColumnPair,
    Correspondence,
    Extra,
    Hint,
    Matched,
    Name,
    SplitColumn,
    TablePair,
)
from taly.planning.down.names import bare
from taly.planning.migrations.names import kind_of
from taly.planning.parsing import parse


def correspond(
    source: Catalog,
    target: Catalog,
    matched: Matched,
    hints: Sequence[Hint] = (),
    *,
    backwards: bool = False,
) -> Correspondence:
    """What of the source's rows goes where in the target.

    Going back, the source is the live database (new schema) and the target has the old schema; with
    `backwards` (an undo) it is the other way round. `matched` names the old schema first in both.
    """
    old = source if backwards else target
    found = sort_out(hints, old.tables)
    columns = Columns(source, target, matched, found.by_column, backwards)
    links, gaps = _links(source, target, matched, backwards=backwards)
    tables = [_pair(columns, link) for link in links]
    gaps += [
        f"{shown(pair.target)}: the table has no column in common with what it is now"
        for pair in tables
        if not pair.columns and (pair.split or pair.kept)
    ]
    ours, theirs = _carried(source), _carried(target)
    paired = {pair.source for pair in tables}, {pair.target for pair in tables}
    return Correspondence(
        tables=tuple(tables),
        only_source=tuple(_extra(one) for one in ours if _name(one) not in paired[0]),
        only_target=tuple(_name(one) for one in theirs if _name(one) not in paired[1]),
        conversions=tuple(dict.fromkeys(columns.conversions)),
        gaps=tuple(gaps),
        notes=tuple(dict.fromkeys([*found.notes, *columns.notes, *_foreign(source, target)])),
    )


def _name(table: Table) -> Name:
    return (table.schema, table.name)


def _is_partition(table: Table) -> bool:
    """A child by plain inheritance has a parent too, but no bounds."""
    return bool(table.parents) and bool(table.bound)


def _carried(catalog: Catalog) -> list[Table]:
    """Tables whose rows are carried; those of a partition go through its root."""
    return [one for one in catalog.tables if one.kind != "foreign" and not _is_partition(one)]


def _foreign(source: Catalog, target: Catalog) -> Iterable[str]:
    for table in (*source.tables, *target.tables):
        if table.kind == "foreign":
            yield f"{shown(_name(table))} is a foreign table: its rows lie elsewhere and stay there"


def _links(
    source: Catalog, target: Catalog, matched: Matched, *, backwards: bool
) -> tuple[list[Link], list[str]]:
    """The tables that are on both sides, in the target's order, and those that cannot be paired."""
    ours = {_name(one): one for one in source.tables}
    by_target: dict[Name, Any] = {
        (one.live if backwards else one.before): one for one in matched.tables
    }
    links, gaps = [], []
    for table in target.tables:
        one = by_target.get(_name(table))
        here = ours.get(one.before if backwards else one.live) if one is not None else None
        if one is None or here is None:
            continue
        if (_is_partition(table), table.kind == "foreign") != (
            _is_partition(here),
            here.kind == "foreign",
        ):
            gaps.append(
                f"{shown(_name(table))} is a partition or foreign table in one schema only: "
                "its rows cannot be told apart from those of another table"
            )
        elif not _is_partition(table) and table.kind != "foreign":
            both = one.columns if backwards else [(new, old) for old, new in one.columns]
            names = {there: ours_too for ours_too, there in both}
            links.append(Link(source=here, target=table, before=one.before, columns=names))
    return links, gaps


def _pair(columns: Columns, link: Link) -> TablePair:
    written = [one for one in link.target.columns if not one.generated]
    made = {one.name: columns.pair(link, one) for one in written}
    pairs = [pair for pair in made.values() if pair is not None]
    read = {pair.source for pair in pairs}
    kept = [one for one in written if made[one.name] is None]
    catalogs = (columns.source, link.source), (columns.target, link.target)
    return TablePair(
        source=_name(link.source),
        target=_name(link.target),
        key=_key(link, {pair.target: pair for pair in pairs}),
        columns=tuple(pairs),
        split=tuple(
            _split(one) for one in link.source.columns if one.name not in read and not one.generated
        ),
        kept=tuple(one.name for one in kept),
        required=tuple(
            one.name for one in kept if one.not_null and not one.default and not one.identity
        ),
        always_identity=any(
            one.identity == "always" and made[one.name] is not None for one in written
        ),
        only=any(_has_heirs(*one) for one in catalogs),
    )


def _has_heirs(catalog: Catalog, table: Table) -> bool:
    return any(
        bare(parent) == f"{table.schema}.{table.name}"
        for one in catalog.tables
        if not one.bound
        for parent in one.parents
    )


def _key(link: Link, pairs: Mapping[str, ColumnPair]) -> tuple[ColumnPair, ...]:
    """The first key of the target that is one in the source too, with the same values."""
    known = {frozenset(key) for key in keys(link.source)}
    for key in keys(link.target):
        found = [pairs[name] for name in key if name in pairs]
        usable = [pair for pair in found if pair.how in ("same", "renamed")]
        if len(usable) == len(key) and frozenset(pair.source for pair in usable) in known:
            return tuple(usable)
    return ()


def _split(column: Column) -> SplitColumn:
    default = column.default if _is_constant(column.default) else ""
    return SplitColumn(name=column.name, type=column.type, default=default)


def _is_constant(expression: str) -> bool:
    """Whether a default is the same value whenever it is computed."""
    if not expression:
        return False
    try:
        select = parse(f"SELECT {expression}").stmts[0].stmt.select_stmt
    except (PgQueryError, IndexError):
        return False
    return len(select.target_list) == 1 and _is_literal(select.target_list[0].res_target.val)


def _is_literal(node: Any) -> bool:
    kind = kind_of(node)
    if kind == "type_cast":
        # A second cast may be computed: ('now'::text)::timestamp is another value each time.
        return kind_of(node.type_cast.arg) == "a_const" or (
            kind_of(node.type_cast.arg) == "a_array_expr" and _is_literal(node.type_cast.arg)
        )
    if kind == "a_array_expr":
        return all(_is_literal(one) for one in node.a_array_expr.elements)
    return kind == "a_const"


def _extra(table: Table) -> Extra:
    columns = [one for one in table.columns if not one.generated]
    written = {one.name for one in columns}
    key = next((key for key in keys(table) if written.issuperset(key)), ())
    return Extra(
        table=_name(table),
        columns=tuple(_split(one) for one in columns),
        key=key,
    )
