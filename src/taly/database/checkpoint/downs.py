"""The way down of each pending migration, worked out and tried out before it is needed."""

import json
from collections.abc import Callable, Sequence
from pathlib import Path

from pydantic import TypeAdapter

from taly.database.checkpoint.folder import write_file
from taly.database.checkpoint.manifest import DownFacts, document
from taly.database.checkpoint.pending import Script
from taly.errors import TalyError
from taly.model.catalog import Catalog
from taly.planning.down import Down, derive, team

DOWNS = "down"
FORMAT_VERSION = 1
MAX_TRIED = 20
"""Each of them takes a scratch database: a new environment may have hundreds pending."""

STORED = TypeAdapter(Down)

Tried = tuple[bool, str, Catalog | None]
"""Whether it was proven, else why not; the catalog as the migration made it, where it was seen."""
Try = Callable[[Sequence[str], str, Down], Tried]
"""Given the texts of all earlier migrations, this one's, and its way down."""


def ways_down(
    scripts: Sequence[Script], catalog: Catalog, schema: str, folder: Path, try_out: Try
) -> tuple[DownFacts, ...]:
    """Write `down/NAME.json` for each pending migration, oldest first.

    What cannot be tried out is kept all the same, and says so.
    """
    earlier = [script.text for script in scripts if not script.pending]
    before: Catalog | None = catalog
    out = []
    for number, script in enumerate(one for one in scripts if one.pending):
        down = _down(script, before, schema)
        proven, reason, after = False, f"only the first {MAX_TRIED} are tried out", None
        if number < MAX_TRIED:
            try:
                proven, reason, after = try_out(earlier, script.text, down)
            except TalyError as error:
                reason = error.message
        out.append(_written(folder, down, proven=proven, reason=reason))
        earlier.append(script.text)
        before = after
    return tuple(out)


def _down(script: Script, before: Catalog | None, schema: str) -> Down:
    if script.down is not None and script.down.strip():
        text = script.down.decode("utf-8-sig", errors="replace")
        return team(script.name, text, script.text, before, schema=schema)
    return derive(script.name, script.text, before, schema=schema)


def _written(folder: Path, down: Down, *, proven: bool, reason: str) -> DownFacts:
    path = folder / DOWNS / f"{down.name}.json"
    body = {"format_version": FORMAT_VERSION, "down": STORED.dump_python(down, mode="json")}
    write_file(path, json.dumps(body, indent=1, ensure_ascii=False).encode() + b"\n")
    return DownFacts(
        migration=down.name,
        file=path.relative_to(folder).as_posix(),
        source=down.source,
        proven=proven,
        reason="" if proven else reason,
        gaps=down.gaps,
        loses=down.loses,
    )


def read_down(path: Path) -> Down:
    """A way down as it was kept; ValueError when it is none."""
    body = document(path)
    if not isinstance(body, dict) or "down" not in body:
        raise ValueError("it holds no way down")
    return STORED.validate_json(json.dumps(body["down"]), strict=True)
