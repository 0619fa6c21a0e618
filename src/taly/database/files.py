"""Migrations' texts, from the checkout or a copy, that are proved to be what was applied."""

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from taly.database.ledger import Row, prisma_8


@dataclass(frozen=True, slots=True, kw_only=True)
class Text:
    """What is to be had of an applied migration."""

    name: str
    sql: str | None
    """None when it is missing or not what was applied."""
    problem: str = ""
    """missing, differs, or empty."""
    place: Path | None = None
    """Where its folder lies."""


def text_of(places: Sequence[Path], row: Row) -> Text:
    """The text of a migration that its checksum proves to be what was run, wherever it lies.

    `places` are the checkout's migrations directory and what checkpoints copied from it.
    """
    if Path(row.name).name != row.name:  # the name comes from the database: no way out of here
        return Text(name=row.name, sql=None, problem="missing")
    problem = "missing"
    for place in places:
        try:
            data = (place / row.name / "migration.sql").read_bytes()
        except OSError:
            continue
        if row.checksum in checksums(data):
            sql = data.decode("utf-8-sig", errors="replace")
            return Text(name=row.name, sql=sql, place=place)
        problem = "differs"
    return Text(name=row.name, sql=None, problem=problem)


def checksums(data: bytes) -> frozenset[str]:
    """Of the file as it is and with the line ends of either system: git may have changed them."""
    lf = data.replace(b"\r\n", b"\n")
    variants = (data, lf, lf.replace(b"\n", b"\r\n"))
    return frozenset(hashlib.sha256(variant).hexdigest() for variant in variants)


def refuse_prisma_8(directory: Path) -> None:
    """Raise VendorRefused when the directory holds Prisma 8's migration packages."""
    for pattern in ("*/migration.json", "*/*/migration.json"):
        for file in directory.glob(pattern):
            raise prisma_8(f"{file.relative_to(directory)} lies in the migrations directory")


def down_of(directory: Path, name: str) -> str | None:
    """The team's own `down.sql` beside a migration; None when there is none that can be read."""
    if Path(name).name != name:  # the name may come from the database
        return None
    try:
        text = (directory / name / "down.sql").read_text(encoding="utf-8-sig")
    except (OSError, UnicodeDecodeError):
        return None
    return text if text.strip() else None
