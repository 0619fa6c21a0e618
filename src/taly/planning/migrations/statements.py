"""Every kind of statement: those that change the schema, those that change data, those unread."""

from collections.abc import Callable, Iterator

from postgast import walk

from taly.planning.migrations import objects, tables
from taly.planning.migrations.blocks import statements_in
from taly.planning.migrations.model import Schema, Table
from taly.planning.migrations.names import (
    Node,
    enum_name,
    inner,
    joined,
    kind_of,
    object_name,
    relation_name,
    strings,
)
from taly.planning.parsing import not_examined, statements

HARMLESS = frozenset(
    {
        "transaction_stmt",
        "variable_set_stmt",
        "variable_show_stmt",
        "comment_stmt",
        "vacuum_stmt",
        "reindex_stmt",
        "cluster_stmt",
        "repack_stmt",
        "lock_stmt",
        "check_point_stmt",
        "discard_stmt",
        "create_extension_stmt",
        "create_schema_stmt",
        "create_seq_stmt",
        "create_domain_stmt",
        "composite_type_stmt",
        "create_range_stmt",
        "create_stats_stmt",
        "alter_stats_stmt",
        "create_publication_stmt",
        "refresh_mat_view_stmt",
        "constraints_set_stmt",
        "explain_stmt",
    }
)
"""They add something that the old code does not know, or change nothing that it can see."""

SAFE_CALLS = frozenset({"setval", "nextval", "set_config", "now", "current_setting", "count"})


def apply(schema: Schema, sql: str) -> None:
    """Run a migration's text over the known schema; raises ValueError when it does not parse."""
    for statement in statements(sql):
        apply_one(schema, statement)


def apply_one(schema: Schema, statement: Node) -> None:
    """Run one statement, as `parse` gives it, over the known schema."""
    kind = kind_of(statement)
    handler = HANDLERS.get(kind)
    if handler is not None:
        handler(schema, inner(statement))
    elif kind not in HARMLESS:
        schema.say(breaks=True, undo="catalog", reason=not_examined(kind))


def _update(schema: Schema, node: Node) -> None:
    table = schema.table(relation_name(node.relation))
    names = [str(target.res_target.name) for target in node.target_list]
    if not tables.columns_are_new(table, names):
        columns = ", ".join(names)
        schema.say(
            breaks=False,
            undo="data",
            reason=f"overwrites {table.name}.{columns}: the old values are not kept",
        )
    _nested(schema, node)


def _delete(schema: Schema, node: Node) -> None:
    table = schema.table(relation_name(node.relation))
    if table.was is not None:
        schema.say(breaks=False, undo="data", reason=f"deletes rows of {table.name}")
    _nested(schema, node)


def _insert(schema: Schema, node: Node) -> None:
    table = schema.table(relation_name(node.relation))
    if table.was is not None:
        schema.say(breaks=False, undo="data", reason=f"writes rows into {table.name}")
    _nested(schema, node)


def _truncate(schema: Schema, node: Node) -> None:
    for wrapped in node.relations:
        table = schema.table(relation_name(wrapped.range_var))
        if table.was is not None:
            schema.say(breaks=False, undo="data", reason=f"empties {table.name}")


def _copy(schema: Schema, node: Node) -> None:
    if node.is_from:
        schema.say(
            breaks=False, undo="data", reason=f"writes rows into {relation_name(node.relation)}"
        )


def _merge(schema: Schema, node: Node) -> None:
    table = schema.table(relation_name(node.relation))
    if table.was is not None:
        schema.say(breaks=False, undo="data", reason=f"merges rows into {table.name}")


def _select(schema: Schema, node: Node) -> None:
    if node.HasField("into_clause"):
        name = relation_name(node.into_clause.rel)
        schema.tables[name] = Table(name=name)
    for name in _calls(node):
        if name not in SAFE_CALLS:
            schema.say(
                breaks=True, undo="data", reason=f"calls {name}(), and what that does is not seen"
            )
    _nested(schema, node)


def _nested(schema: Schema, node: Node) -> None:
    """Data changes inside WITH."""
    for wrapped in node.with_clause.ctes if node.HasField("with_clause") else ():
        query = wrapped.common_table_expr.ctequery
        if kind_of(query) != "select_stmt":
            apply_one(schema, query)


def _calls(node: Node) -> Iterator[str]:
    for _, found in walk(node):
        if type(found).__name__ == "FuncCall":
            yield joined(strings(found.funcname))


def _create_as(schema: Schema, node: Node) -> None:
    name = relation_name(node.into.rel)
    if enum_name(node, "objtype") == "OBJECT_MATVIEW":
        _created(schema, f"view {name}", replace=False)
    elif name not in schema.tables:
        schema.tables[name] = Table(name=name)


def _view(schema: Schema, node: Node) -> None:
    _created(schema, f"view {relation_name(node.view)}", replace=node.replace)


def _function(schema: Schema, node: Node) -> None:
    _created(schema, f"function {joined(strings(node.funcname))}", replace=node.replace)


def _trigger(schema: Schema, node: Node) -> None:
    table = relation_name(node.relation)
    key = f"trigger {table}.{node.trigname}"
    _created(schema, key, replace=node.replace)
    if schema.table(table).was is not None:
        schema.say(
            breaks=False,
            undo="automatic",
            reason=f"a trigger now runs when the old code writes to {table}",
        )


def _created(schema: Schema, key: str, *, replace: bool) -> None:
    """Something new, unless it may replace what the old code relies on."""
    known = key in schema.others and key not in schema.fresh_others
    if replace and (known or not (schema.complete or key in schema.fresh_others)):
        may = "replaces" if known else "may replace"
        schema.say(breaks=True, undo="catalog", reason=f"{may} {key}: what it does is not examined")
        return
    schema.others.add(key)
    schema.fresh_others.add(key)


def _do(schema: Schema, node: Node) -> None:
    bodies = [
        wrapped.def_elem.arg.string.sval
        for wrapped in node.args
        if wrapped.def_elem.defname == "as"
    ]
    plpgsql = len(node.args) == 1  # a LANGUAGE clause would be a second argument
    found = statements_in(bodies[0], complete=schema.complete) if plpgsql and bodies else None
    if found is not None:
        for text in found:
            apply(schema, text)
        return
    schema.say(
        breaks=True, undo="data", reason="a DO block hides what it does: read it before going on"
    )


def _grant(schema: Schema, node: Node) -> None:
    if not node.is_grant:
        schema.say(breaks=True, undo="catalog", reason="revokes rights that the old code may need")


def _policy(schema: Schema, node: Node) -> None:
    if not node.permissive:
        schema.say(
            breaks=True,
            undo="automatic",
            reason=f"policy {node.policy_name} hides rows from the old code",
        )


def _set_schema(schema: Schema, node: Node) -> None:
    name = relation_name(node.relation) or object_name(node.object)
    schema.say(breaks=True, undo="automatic", reason=f"moves {name} to schema {node.newschema}")


def _sequence(schema: Schema, node: Node) -> None:
    name = relation_name(node.sequence)
    schema.say(breaks=False, undo="catalog", reason=f"changes sequence {name}")


HANDLERS: dict[str, Callable[[Schema, Node], None]] = {
    "create_stmt": tables.create_table,
    "alter_table_stmt": tables.alter_table,
    "rename_stmt": objects.rename,
    "drop_stmt": objects.drop,
    "index_stmt": objects.create_index,
    "create_enum_stmt": objects.create_enum,
    "alter_enum_stmt": objects.alter_enum,
    "update_stmt": _update,
    "delete_stmt": _delete,
    "insert_stmt": _insert,
    "merge_stmt": _merge,
    "truncate_stmt": _truncate,
    "copy_stmt": _copy,
    "select_stmt": _select,
    "create_table_as_stmt": _create_as,
    "view_stmt": _view,
    "create_function_stmt": _function,
    "create_trig_stmt": _trigger,
    "do_stmt": _do,
    "grant_stmt": _grant,
    "create_policy_stmt": _policy,
    "alter_object_schema_stmt": _set_schema,
    "alter_seq_stmt": _sequence,
}
