"""Reads a Prisma schema in a checkout: which variable names the database, where migrations lie."""

import re
from collections.abc import Iterator
from pathlib import Path

from taly.checkout import Found, Readers, relative, text, unusable

URL_VARIABLE = re.compile(r"""\burl\s*=\s*env\(\s*["'](\w+)["']\s*\)""")


def _prisma(path: Path, root: Path, stage: str) -> Iterator[Found]:
    where, migrations = relative(path, root), path.parent / "migrations"
    if not migrations.is_dir():
        reason = "there is no migrations folder beside it"
        yield unusable("database", "postgres", where, reason)
        return
    variable = URL_VARIABLE.search(text(path))
    yield Found(
        name="database",
        provider="postgres",
        path=where,
        settings={
            "url_env": variable.group(1) if variable else "DATABASE_URL",
            "migrations": relative(migrations, root),
        },
    )


READERS: Readers = {("schema.prisma", ""): _prisma}
