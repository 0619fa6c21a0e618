"""The ways down of the migrations since a target: derived now, tried out where that is asked."""

from collections.abc import Collection, Sequence
from dataclasses import dataclass
from pathlib import Path

from taly.database.checkpoint.folder import MIGRATIONS, Checkpoint, every
from taly.database.connection import Target, reading
from taly.database.files import Text, down_of, text_of
from taly.database.ledger import Ledger, Row, read_ledger
from taly.database.scratch import NotProven, Proven, Replay, prove, replayed
from taly.model.catalog import Catalog
from taly.planning.down import Down, derive, team


@dataclass(frozen=True, slots=True, kw_only=True)
class WayDown:
    """How one migration would be taken back."""

    down: Down
    proof: Proven | NotProven | None
    """None when it was not tried out."""


def places_of(directory: Path | None, checkpoints: Path) -> tuple[Path, ...]:
    """Where migrations' texts may lie: in the checkout, else in the checkpoints' copies."""
    found = [one for one in every(checkpoints) if isinstance(one, Checkpoint)]
    copies = (one.path / MIGRATIONS for one in found)
    return (*([directory] if directory is not None else []), *copies)


def ways_down(
    target: Target, places: Sequence[Path], had: Collection[str], *, tried: bool
) -> tuple[WayDown, ...]:
    """The way down of each migration that the live database has and is not in `had`.

    Oldest first; they are taken in reverse. `tried` runs every migration on scratch databases:
    that gives the definitions from before, and the proof. Raises TalyError.
    """
    with reading(target) as connection:
        ledger = read_ledger(connection, target)
    rows = _in_order(ledger, had)
    texts = [text_of(places, row) for row in rows]
    after = sum(1 for row in rows if row.name in had)
    known = [text.sql for text in texts]
    readable = known.index(None) if None in known else len(known)
    usable = tuple(sql for sql in known[:readable] if sql is not None)
    catalogs = replayed(target, usable) if tried and after < len(rows) else ()
    return tuple(
        _way(target, texts[number], usable[:number], catalogs, tried=tried)
        for number in range(after, len(rows))
    )


def _in_order(ledger: Ledger, had: Collection[str]) -> list[Row]:
    rows = [*ledger.applied, *ledger.unfinished]
    earlier = [row for row in rows if row.name in had]
    return [*earlier, *(row for row in rows if row.name not in had)]


def _way(
    target: Target,
    text: Text,
    earlier: tuple[str, ...],
    catalogs: tuple[Catalog, ...],
    *,
    tried: bool,
) -> WayDown:
    if text.sql is None:
        gap = f"its text is not to be had: migration.sql {text.problem}"
        return WayDown(down=Down(name=text.name, source="derived", gaps=(gap,)), proof=None)
    number = len(earlier)
    before = catalogs[number] if number < len(catalogs) else None
    own = down_of(text.place, text.name) if text.place is not None else None
    if own is not None:
        down = team(text.name, own, text.sql, before, schema=target.schema)
    else:
        seen = catalogs[number + 1] if number + 1 < len(catalogs) else None
        down = derive(text.name, text.sql, before, schema=target.schema, after=seen)
    if not tried:
        return WayDown(down=down, proof=None)
    if before is None:
        reason = "an earlier migration does not run on an empty database, or its text is missing"
        return WayDown(down=down, proof=NotProven(reason=reason))
    return WayDown(down=down, proof=prove(target, Replay(texts=earlier), text.sql, down))
