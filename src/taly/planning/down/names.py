"""Names and types as SQL wants them, and as they are compared."""

import re

from taly.model.catalog import Column, Function
from taly.planning.migrations.names import ALIASES

LONG = {
    "character varying": "varchar",
    "character": "char",
    "timestamp with time zone": "timestamptz",
    "timestamp without time zone": "timestamp",
    "time with time zone": "timetz",
    "time without time zone": "time",
    "bit varying": "varbit",
}
ASIDE = "__taly_down"
"""Ends the name of what must make room for a moment."""


def quoted(*parts: str) -> str:
    """A name in quotes, with its schema where two parts are given."""
    return ".".join('"' + part.replace('"', '""') + '"' for part in parts)


def text_literal(text: str) -> str:
    """A string constant."""
    return "'" + text.replace("'", "''") + "'"


def bare(text: str) -> str:
    """A qualified name or type without quotes, so that two spellings of it are equal."""
    return text.replace('"', "")


def normal(type_text: str) -> str:
    """A type's short spelling, whoever wrote it; enums and the like without quotes and `public`."""
    text = bare(type_text).removeprefix("public.").removeprefix("pg_catalog.")
    found = re.fullmatch(r"([^(\[]*)(\([^)]*\))?(.*?)", text)
    assert found is not None, "matches every text"
    stem, modifiers, rest = found.group(1).strip(), found.group(2) or "", found.group(3)
    for long, short in LONG.items():
        if stem == long or (not stem and rest.startswith(long)):
            stem = short
    # `timestamp(3) without time zone` has its modifier in the middle.
    for word in ("timestamp", "time"):
        if stem == word and rest.strip().startswith(("without", "with")):
            zone = "tz" if rest.strip().startswith("with time") else ""
            stem = word + zone
            rest = re.sub(r"\s*with(out)? time zone", "", rest)
    return ALIASES.get(stem, stem) + modifiers.replace(" ", "") + rest


def moved_aside(name: str) -> str:
    """The name under which something makes room, within PostgreSQL's 63 bytes."""
    return name.encode()[: 63 - len(ASIDE)].decode(errors="ignore") + ASIDE


def function_name(function: Function) -> str:
    """As DROP FUNCTION takes it."""
    return f"{quoted(function.schema, function.name)}({function.arguments})"


def is_procedure(function: Function) -> bool:
    """Whether it is CALLed."""
    return function.definition.startswith("CREATE OR REPLACE PROCEDURE")


def column_definition(column: Column) -> str:
    """A column as CREATE TABLE and ADD COLUMN take it; NOT NULL comes once its data is there."""
    parts = [quoted(column.name), column.type]
    if column.collation:
        parts.append(f"COLLATE {column.collation}")
    if column.generated:
        parts.append(f"GENERATED ALWAYS AS ({column.default}) {column.generated.upper()}")
    elif column.default:
        parts.append(f"DEFAULT {column.default}")
    if column.identity:
        parts.append(f"GENERATED {column.identity.upper()} AS IDENTITY")
    return " ".join(parts)
