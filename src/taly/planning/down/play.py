"""A whole migration played over the mirror, statement by statement."""

from collections.abc import Callable

from postgast import walk

from taly.model.catalog import Extension
from taly.planning.down import objects, renaming, tables
from taly.planning.down.mirror import Mirror, Name
from taly.planning.down.names import quoted
from taly.planning.migrations.blocks import statements_in
from taly.planning.migrations.names import Node, enum_name, inner, joined, kind_of, strings
from taly.planning.migrations.statements import SAFE_CALLS
from taly.planning.parsing import not_examined, statements

NO_TRACE = frozenset(
    {
        "transaction_stmt",
        "variable_set_stmt",
        "variable_show_stmt",
        "vacuum_stmt",
        "reindex_stmt",
        "cluster_stmt",
        "lock_stmt",
        "check_point_stmt",
        "discard_stmt",
        "refresh_mat_view_stmt",
        "constraints_set_stmt",
        "explain_stmt",
        "create_stats_stmt",
        "alter_stats_stmt",
    }
)
"""They leave nothing behind that a catalog or a row shows."""


def play(mirror: Mirror, sql: str) -> None:
    """Run a text over the mirror; raises ValueError when it does not parse."""
    for statement in statements(sql):
        _one(mirror, statement)


def _one(mirror: Mirror, statement: Node) -> None:
    kind = kind_of(statement)
    handler = HANDLERS.get(kind)
    if handler is not None:
        handler(mirror, inner(statement))
    elif kind not in NO_TRACE:
        mirror.gap(f"{not_examined(kind)} is not taken back")


def _rows(mirror: Mirror, name: Name, word: str, columns: tuple[str, ...] = ()) -> None:
    """Rows that were there before are changed: they must be saved, no statement brings them back.

    `columns`: those that are overwritten; empty = whole rows.
    """
    table = mirror.table(name)
    if table is None or mirror.is_fresh("tables", table):
        return
    was = mirror.was["tables"][table.oid]
    old: list[str] = []
    for column in columns:
        known = mirror.column(table, column)
        before = mirror.column_was(table, known) if known is not None else None
        if before is not None:
            old.append(before.name)
    if columns and not old:
        return  # a backfill of columns that this migration added
    what = f"{was.name}.{', '.join(old)}" if old else was.name
    mirror.gap(f"{word} {what}: it takes the rows from before, which no statement brings back")
    mirror.save(
        kind="columns" if old else "rows",
        table=f"{was.schema}.{was.name}",
        columns=tuple(old),
        why=f"{word} {what}",
    )


def _update(mirror: Mirror, node: Node) -> None:
    names = tuple(str(target.res_target.name) for target in node.target_list)
    _rows(mirror, mirror.relation(node.relation), "overwrites", names)
    _nested(mirror, node)


def _delete(mirror: Mirror, node: Node) -> None:
    _rows(mirror, mirror.relation(node.relation), "deletes rows of")
    _nested(mirror, node)


def _insert(mirror: Mirror, node: Node) -> None:
    _rows(mirror, mirror.relation(node.relation), "writes rows into")
    _nested(mirror, node)


def _merge(mirror: Mirror, node: Node) -> None:
    _rows(mirror, mirror.relation(node.relation), "merges rows into")
    _nested(mirror, node)


def _truncate(mirror: Mirror, node: Node) -> None:
    for wrapped in node.relations:
        _rows(mirror, mirror.relation(wrapped.range_var), "empties")
    if enum_name(node, "behavior") == "DROP_CASCADE":
        mirror.gap("TRUNCATE CASCADE also empties the tables that refer to it")


def _copy(mirror: Mirror, node: Node) -> None:
    if node.is_from:
        _rows(mirror, mirror.relation(node.relation), "writes rows into")


def _select(mirror: Mirror, node: Node) -> None:
    if node.HasField("into_clause"):
        tables.fresh_table(mirror, mirror.relation(node.into_clause.rel))
    for _, found in walk(node):
        if type(found).__name__ == "FuncCall":
            name = joined(strings(found.funcname))
            if name not in SAFE_CALLS:
                mirror.gap(f"calls {name}(), and what that does is not seen")
            elif name in ("setval", "nextval"):
                mirror.gap("the position of a sequence is not taken back")
    _nested(mirror, node)


def _nested(mirror: Mirror, node: Node) -> None:
    """Data changes inside WITH."""
    for wrapped in node.with_clause.ctes if node.HasField("with_clause") else ():
        query = wrapped.common_table_expr.ctequery
        if kind_of(query) != "select_stmt":
            _one(mirror, query)


def _create_as(mirror: Mirror, node: Node) -> None:
    name = mirror.relation(node.into.rel)
    if enum_name(node, "objtype") == "OBJECT_MATVIEW":
        objects.materialized(mirror, name)
    elif mirror.find("tables", name) is None:
        tables.fresh_table(mirror, name)


def _do(mirror: Mirror, node: Node) -> None:
    bodies = [
        wrapped.def_elem.arg.string.sval
        for wrapped in node.args
        if wrapped.def_elem.defname == "as"
    ]
    plpgsql = len(node.args) == 1  # a LANGUAGE clause would be a second argument
    found = statements_in(bodies[0], complete=not mirror.assumes) if plpgsql and bodies else None
    if found is None:
        mirror.gap("a DO block hides what it does: its way down must be written by hand")
        return
    for text in found:
        play(mirror, text)


def _extension(mirror: Mirror, node: Node) -> None:
    name = str(node.extname)
    if name in [one.name for one in mirror.extensions]:
        return
    if mirror.assumes:
        mirror.gap(f"whether extension {name} was there before is not known: it stays")
        return
    mirror.extensions.append(Extension(name=name, schema="", version=""))


def _schema(mirror: Mirror, node: Node) -> None:
    name = str(node.schemaname)
    if name in mirror.schemas:
        return
    if mirror.assumes and node.if_not_exists:
        mirror.gap(f"whether schema {name} was there before is not known: it stays")
        return
    mirror.schemas.append(name)
    for wrapped in node.schema_elts:
        _one(mirror, wrapped)


def _domain(mirror: Mirror, node: Node) -> None:
    objects.other(mirror, "domain", quoted(*mirror.split(strings(node.domainname))))


def _composite(mirror: Mirror, node: Node) -> None:
    objects.other(mirror, "type", quoted(*mirror.relation(node.typevar)))


def _says(text: str) -> Callable[[Mirror, Node], None]:
    return lambda mirror, node: mirror.gap(text)


HANDLERS: dict[str, Callable[[Mirror, Node], None]] = {
    "create_stmt": tables.create_table,
    "alter_table_stmt": tables.alter_table,
    "rename_stmt": renaming.rename,
    "drop_stmt": objects.drop,
    "alter_object_schema_stmt": renaming.set_schema,
    "index_stmt": objects.create_index,
    "create_enum_stmt": objects.create_enum,
    "alter_enum_stmt": objects.alter_enum,
    "view_stmt": objects.view,
    "create_function_stmt": objects.function,
    "create_trig_stmt": objects.trigger,
    "create_policy_stmt": objects.policy,
    "rule_stmt": objects.rule,
    "create_seq_stmt": objects.sequence,
    "create_extension_stmt": _extension,
    "create_schema_stmt": _schema,
    "create_domain_stmt": _domain,
    "composite_type_stmt": _composite,
    "create_table_as_stmt": _create_as,
    "update_stmt": _update,
    "delete_stmt": _delete,
    "insert_stmt": _insert,
    "merge_stmt": _merge,
    "truncate_stmt": _truncate,
    "copy_stmt": _copy,
    "select_stmt": _select,
    "do_stmt": _do,
    "grant_stmt": _says("rights that are granted or revoked stay as they are now"),
    "alter_owner_stmt": _says("an owner stays as it is now"),
    "alter_seq_stmt": _says("what a sequence was set to before is not put back"),
    "comment_stmt": _says("comments stay as they are now"),
}
