"""What the team says in taly.toml about columns whose values read differently."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from postgast import PgQueryError, walk

from taly.errors import UsageError
from taly.hostile import json_value
from taly.model.catalog import Table
from taly.planning.carry.model import Hint, Name
from taly.planning.migrations.names import Node, kind_of, strings
from taly.planning.parsing import parse

KEYS = ("enum_map", "fill", "transform")
ALIAS = "s"
"""What a row of the source is called in every expression."""


def read_hints(text: str) -> tuple[Hint, ...]:
    """The hints out of JSON: column → `enum_map`, `fill`, `transform`; empty text = none.

    Raises UsageError for what is no JSON of that form, and for SQL that is not one expression.
    """
    if not text.strip():
        return ()
    try:
        found = json_value(text)
    except ValueError as error:
        raise _wrong(f"the column hints are no JSON: {error}") from error
    if not isinstance(found, dict):
        raise _wrong("the column hints are no table of columns")
    return tuple(_hint(column, given) for column, given in found.items())


def _wrong(message: str) -> UsageError:
    return UsageError(
        message[:2000],
        reference="column-hint-invalid",
        hint='mend [components.NAME.columns."table.column"] in taly.toml',
    )


def _hint(column: str, given: Any) -> Hint:
    if not isinstance(given, dict):
        raise _wrong(f"the hint for {column} is no table: it has enum_map, fill or transform")
    unknown = [key for key in given if key not in KEYS]
    if unknown:
        raise _wrong(f"the hint for {column} has {unknown[0]}; it has enum_map, fill or transform")
    if not 2 <= len(column.split(".")) <= 3:
        raise _wrong(f"{column} is no column: write table.column or schema.table.column")
    labels = given.get("enum_map") or {}
    if not isinstance(labels, dict) or not all(isinstance(one, str) for one in labels.values()):
        raise _wrong(f"enum_map of {column} is no table of new = old values")
    return Hint(
        column=column,
        enum_map=tuple(labels.items()),
        fill=_checked(column, "fill", given.get("fill")),
        transform=_checked(column, "transform", given.get("transform")),
    )


def _checked(column: str, key: str, given: Any) -> str:
    if given is None or given == "":
        return ""
    if not isinstance(given, str):
        raise _wrong(f"{key} of {column} is no text")
    expression = given.strip()
    said = _fault(expression)
    if said:
        raise _wrong(f"{key} of {column} is not one SQL expression ({said}): {expression}")
    return expression


def _fault(expression: str) -> str:
    """Why a text is not one expression over a row; empty when it is."""
    try:
        # Alone too: `1) + (2` is one expression only where somebody put brackets around it.
        nodes = [_only_value(f"SELECT {expression}"), _only_value(f"SELECT ({expression})")]
    except PgQueryError as error:
        return str(error).splitlines()[0]
    if None in nodes or kind_of(nodes[1]) == "row_expr":
        return "it is more than one value"
    for _, node in walk(nodes[1]):
        name = type(node).__name__
        if name == "SelectStmt":
            return "it asks a query"
        if name == "ParamRef":
            return "it has a parameter"
    return ""


def _only_value(sql: str) -> Node | None:
    """The value of a SELECT that has one value and nothing else."""
    statements = parse(sql).stmts
    if len(statements) != 1 or kind_of(statements[0].stmt) != "select_stmt":
        return None
    select = statements[0].stmt.select_stmt
    fields = {field.name for field, _ in select.ListFields()}
    if not fields <= {"target_list", "limit_option", "op"} or len(select.target_list) != 1:
        return None
    target = select.target_list[0].res_target
    return None if target.name else target.val


@dataclass(frozen=True, slots=True)
class Found:
    """The hints by what they are for."""

    by_column: Mapping[tuple[Name, str], Hint]
    """By table and column of the old schema."""
    notes: tuple[str, ...]
    """Hints that name nothing, or more than one column."""


def sort_out(hints: Sequence[Hint], tables: Iterable[Table]) -> Found:
    """Find each hint's column in the old schema."""
    places: dict[str, list[tuple[Name, str]]] = {}
    for table in tables:
        for column in table.columns:
            place = ((table.schema, table.name), column.name)
            short = f"{table.name}.{column.name}"
            for spelled in (short, f"{table.schema}.{short}"):
                places.setdefault(spelled, []).append(place)
    found: dict[tuple[Name, str], Hint] = {}
    notes = []
    for hint in hints:
        named = places.get(hint.column, [])
        if len(named) == 1:
            found[named[0]] = hint
        elif named:
            notes.append(
                f"the hint for {hint.column} is not used: there are several; "
                "write schema.table.column"
            )
        else:
            notes.append(
                f"the hint for {hint.column} is not used: the old schema has no such column"
            )
    return Found(found, tuple(notes))


def over_the_row(expression: str, columns: Iterable[str]) -> tuple[str, tuple[str, ...]]:
    """The expression with every column qualified by the row's alias, and names that it has not.

    So it means the same wherever it stands, whatever else is joined to the row.
    """
    known, unknown = set(columns), []
    prefix = "SELECT "
    text = (prefix + expression).encode()
    places = []
    for _, node in walk(parse(text.decode())):
        if type(node).__name__ != "ColumnRef":
            continue
        names = strings([one for one in node.fields if one.WhichOneof("node") == "string"])
        alone = len(names) == 1
        if names and (alone or names[0] == ALIAS) and names[-1] in known:
            places += [node.location] if alone else []
        else:
            unknown.append(".".join(names))
    for place in sorted(set(places), reverse=True):
        text = text[:place] + f"{ALIAS}.".encode() + text[place:]
    return text.decode().removeprefix(prefix), tuple(dict.fromkeys(unknown))
