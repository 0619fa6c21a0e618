"""The pending migrations played over the catalog from before: what they renamed and wrote.

A database that was restored or copied has other OIDs; there the migrations' own words tell what
became of a table, a column or an enum's value.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field, replace

from postgast import PgQueryError, split, walk

from taly.model.catalog import Catalog
from taly.planning.carry.model import Name
from taly.planning.down.mirror import Mirror
from taly.planning.down.play import play
from taly.planning.migrations.blocks import statements_in
from taly.planning.migrations.names import (
    Node,
    enum_name,
    inner,
    is_plain_cast,
    joined,
    kind_of,
    strings,
)
from taly.planning.migrations.statements import SAFE_CALLS
from taly.planning.parsing import parse


@dataclass
class Played:
    """What is known after the migrations were played."""

    mirror: Mirror
    labels: dict[int, dict[str, str]]
    """By the OID of an enum from before: label now → label before, of those that were there."""
    overwritten: dict[tuple[Name, str], None] = field(default_factory=dict)
    computed: dict[tuple[Name, str], str] = field(default_factory=dict)
    """Column from before → the migration that computes its value from the old one."""
    hidden: bool = False
    """Whether a text did not parse, or holds what cannot be read (a DO block with logic, CALL,
    a function that may write)."""


def played(before: Catalog, texts: Sequence[tuple[str, str]], schema: str) -> Played:
    """Play migrations (name, SQL), oldest first, over the catalog from before them.

    An empty text is one that is not known.
    """
    so_far = Played(
        mirror=Mirror.of(before, schema),
        labels={enum.oid: {label: label for label in enum.labels} for enum in before.enums},
    )
    for name, sql in texts:
        so_far.hidden |= not sql.strip()
        try:
            for text in _statements(so_far, sql):
                _play(so_far, name, text)
        except (PgQueryError, ValueError):
            so_far.hidden = True
    return so_far


def _statements(so_far: Played, sql: str) -> Iterator[str]:
    """Each statement alone, those in a DO block that can be read among them."""
    for text in split(sql):
        statements = parse(text).stmts
        if not statements:
            continue
        statement = statements[0].stmt
        kind = kind_of(statement)
        if kind == "do_stmt":
            found = _body(inner(statement))
            so_far.hidden |= found is None
            yield from found or ()
        else:
            so_far.hidden |= kind == "call_stmt" or _calls(statement)
            yield text


def _calls(statement: Node) -> bool:
    """Whether it calls a function that may write; what is called within DDL does not count."""
    return kind_of(statement) == "select_stmt" and any(
        joined(strings(node.funcname)) not in SAFE_CALLS
        for _, node in walk(statement)
        if type(node).__name__ == "FuncCall"
    )


def _body(node: Node) -> list[str] | None:
    texts = [one.def_elem.arg.string.sval for one in node.args if one.def_elem.defname == "as"]
    if len(node.args) != 1 or not texts:  # a LANGUAGE clause would be a second argument
        return None
    return statements_in(texts[0], complete=True)


def _play(so_far: Played, migration: str, text: str) -> None:
    statement = parse(text).stmts[0].stmt
    for _, node in walk(statement):
        if type(node).__name__ == "UpdateStmt":
            _update(so_far, migration, node)
    kind = kind_of(statement)
    if kind == "alter_table_stmt":
        _retypes(so_far, migration, inner(statement))
    if kind == "rename_stmt" and enum_name(inner(statement), "rename_type") == "OBJECT_SCHEMA":
        _rename_schema(so_far.mirror, inner(statement))
        return
    were = {oid: enum.labels for oid, enum in so_far.mirror.now["enums"].items()}
    play(so_far.mirror, text)
    for oid, labels in were.items():
        _follow_labels(so_far, oid, labels)


def _rename_schema(mirror: Mirror, node: Node) -> None:
    old, new = str(node.subname), str(node.newname)
    for kind in ("tables", "enums"):
        for one in list(mirror.now[kind].values()):
            if one.schema == old:
                mirror.put(kind, replace(one, schema=new))


def _follow_labels(so_far: Played, oid: int, were: tuple[str, ...]) -> None:
    """A statement renames one label in its place, or adds one and keeps the others."""
    enum = so_far.mirror.now["enums"].get(oid)
    known = so_far.labels.get(oid)
    if enum is None or known is None or len(enum.labels) != len(were):
        return
    names = dict(zip(were, enum.labels, strict=True))
    so_far.labels[oid] = {names.get(now, now): before for now, before in known.items()}


def _column_before(so_far: Played, name: Name, column: str) -> tuple[Name, str] | None:
    """Table and column as they were called before; None when the migrations made them."""
    mirror = so_far.mirror
    table = mirror.find("tables", name)
    now = mirror.column(table, column) if table is not None else None
    before = mirror.column_was(table, now) if table is not None and now is not None else None
    if before is None:
        return None
    was = mirror.was["tables"][table.oid]
    return (was.schema, was.name), before.name


def _update(so_far: Played, migration: str, node: Node) -> None:
    name = so_far.mirror.relation(node.relation)
    for target in node.target_list:
        column = str(target.res_target.name)
        found = _column_before(so_far, name, column)
        if found is None:
            continue
        so_far.overwritten[found] = None
        value = target.res_target.val
        # COALESCE only fills what was NULL: the other values mean what they meant.
        if kind_of(value) != "coalesce_expr" and _reads_itself(node, column, value):
            so_far.computed.setdefault(found, migration)


def _reads_itself(update: Node, column: str, value: Node) -> bool:
    """Whether the new value is computed from the old one, not from another table's column."""
    relation = update.relation
    own = str(relation.alias.aliasname) or str(relation.relname)
    refs = [node for _, node in walk(value) if type(node).__name__ == "ColumnRef"]
    names = [strings([one for one in ref.fields if kind_of(one) == "string"]) for ref in refs]
    return any(parts[-1:] == [column] and parts[-2:-1] in ([], [own]) for parts in names)


def _retypes(so_far: Played, migration: str, node: Node) -> None:
    name = so_far.mirror.relation(node.relation)
    for wrapped in node.cmds:
        command = wrapped.alter_table_cmd
        if enum_name(command, "subtype") != "AT_AlterColumnType":
            continue
        using = getattr(command, "def").column_def
        if using.HasField("raw_default") and not is_plain_cast(using.raw_default, command.name):
            found = _column_before(so_far, name, str(command.name))
            if found is not None:
                so_far.overwritten[found] = None
                so_far.computed.setdefault(found, migration)
