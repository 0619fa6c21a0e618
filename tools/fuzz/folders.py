"""Readers of folders that taly made and anyone may have changed: rescue bundles and checkpoints."""

import gzip
import hashlib
import json
import shutil
from contextlib import suppress
from pathlib import Path
from typing import Any

from tests.contract.rescue_stage import RUN, begin, table

from taly.database.checkpoint import folder as checkpoints
from taly.database.checkpoint.catalog_file import read_catalog_file, write_catalog
from taly.database.checkpoint.downs import STORED, read_down
from taly.database.rescue import bundle as rescues
from taly.database.rescue import record
from taly.database.rescue.manifest import _seal as rescue_seal
from taly.database.restore.names import read_label
from taly.model.catalog import FORMAT_VERSION, Catalog
from taly.planning.down import Down
from tools.fuzz.documents import Reader

STEP = "revert:database:20250505_x"
CHECKPOINT = "2026-11-23-1405-abc"


def folders(base: Path) -> list[Reader]:
    """All of them; good folders are made in `base`."""
    good = _bundle(base)
    manifest = (good / "manifest.json").read_bytes()
    text = gzip.decompress(next(good.glob("*.gz")).read_bytes())
    checkpoint = _checkpoint()
    write_catalog(base / "catalog.json", Catalog())
    catalog = (base / "catalog.json").read_bytes()
    down = json.dumps(
        {
            "format_version": FORMAT_VERSION,
            "down": STORED.dump_python(Down(name="m", source="derived"), mode="json"),
        }
    ).encode()
    label = json.dumps({"taly": {"of": "app", "run": RUN, "since": "2026-11-23T00:00:00+00:00"}})

    def put_bundle(data: bytes, folder: Path) -> None:
        place = _copied(good, folder)
        (place / "manifest.json").write_bytes(data)

    def put_sealed(data: bytes, folder: Path) -> None:
        put_bundle(_resealed(data), folder)

    def put_text(data: bytes, folder: Path) -> None:
        _replace_file(_copied(good, folder), gzip.compress(data, 1), data)

    def put_packed(data: bytes, folder: Path) -> None:
        _replace_file(_copied(good, folder), data, text)

    def put_checkpoint(data: bytes, folder: Path) -> None:
        place = folder / CHECKPOINT
        place.mkdir()
        (place / "manifest.json").write_bytes(_resealed(data, ascii_only=False))

    packed = next(good.glob("*.gz")).read_bytes()
    return [
        Reader("rescue-manifest", [manifest], _read_bundles, put=put_bundle),
        Reader("rescue-manifest-sealed", [manifest], _read_bundles, put=put_sealed, weight=3),
        Reader("rescue-rows", [text], _read_bundles, put=put_text, weight=2),
        Reader("rescue-packed", [packed], _read_bundles, put=put_packed),
        Reader("rescue-record", [b'{"format_version":"1.0","entries":[]}'], _record, record.RECORD),
        Reader(
            "checkpoint-manifest", [checkpoint], _read_checkpoints, put=put_checkpoint, weight=3
        ),
        Reader("catalog", [catalog], lambda _, at: _unused(read_catalog_file(at / "c")), "c"),
        Reader("way-down", [down], _down, "d"),
        Reader("database-comment", [label.encode()], _label),
    ]


def _unused(value: object) -> None:
    repr(value)


def _down(data: bytes, folder: Path) -> None:
    with suppress(ValueError):  # as it says: its callers go another way then
        repr(read_down(folder / "d"))


def _record(data: bytes, folder: Path) -> None:
    record.read(folder)


def _label(data: bytes, folder: Path) -> None:
    read_label(data.decode("utf-8", "replace"))


def _read_bundles(data: bytes, folder: Path) -> None:
    for one in rescues.every(folder):
        if isinstance(one, rescues.Reader):
            one.check()
            for facts in one.tables:
                for row in one.rows(facts):
                    repr(row)


def _read_checkpoints(data: bytes, folder: Path) -> None:
    for one in checkpoints.every(folder):
        if isinstance(one, checkpoints.Checkpoint):
            for line in checkpoints.damage(one):
                line.encode()


def _bundle(base: Path) -> Path:
    made = begin(base, step=STEP)
    one = table('odd "t', {"id": "integer", "v": "text", "w": 'public."E"[]'}, "id")
    for number in range(3):
        made.table(one).add("row", (str(number), "ä\n", None), why="its table goes")
    made.table(one).add(
        "columns", ("9", "y"), why="no place", columns=("id", "v"), base={"id": "9"}
    )
    made.finish(facts={"xmin": 7})
    made.confirm()
    return base / RUN / rescues.folder_name(STEP)


def _copied(good: Path, folder: Path) -> Path:
    place = folder / good.parent.name / good.name
    shutil.copytree(good, place)
    return place


def _replace_file(place: Path, packed: bytes, text: bytes) -> None:
    """Another file, and a manifest that fits it: what whoever writes the one can write too."""
    file = next(place.glob("*.gz"))
    file.write_bytes(packed)
    path = place / "manifest.json"
    body = json.loads(path.read_bytes())
    longest = max((len(line) + 1 for line in text.split(b"\n")), default=0)
    body["tables"][0].update(
        bytes=len(packed),
        sha256=hashlib.sha256(packed).hexdigest(),
        text_bytes=max(len(text), 1),
        longest=max(longest, 1),
    )
    path.write_bytes(_resealed(json.dumps(body).encode()))


def _resealed(data: bytes, *, ascii_only: bool = True) -> bytes:
    """The document with a checksum that fits."""
    try:
        body: Any = json.loads(data)
        body.pop("seal", None)
    except (ValueError, AttributeError, TypeError, RecursionError):
        return data
    try:
        if ascii_only:
            body["seal"] = rescue_seal(body)
        else:
            canonical = json.dumps(body, sort_keys=True, separators=(",", ":"), ensure_ascii=False)
            body["seal"] = hashlib.sha256(canonical.encode()).hexdigest()
        return json.dumps(body).encode()
    except (ValueError, RecursionError):
        return data


def _checkpoint() -> bytes:
    at = "2026-11-23T14:05:00Z"
    instant = {"at": at, "snapshot": "1:1:", "xmin": 1, "lsn": "", "exported": ""}
    body: dict[str, Any] = {
        "format_version": "1.0",
        "taly": "1",
        "name": CHECKPOINT,
        "environment": "production",
        "component": "database",
        "commit": "f" * 40,
        "label": "",
        "by": "ana",
        "made_at": at,
        "database": {
            "place": "h:1/app",
            "name": "app",
            "oid": 1,
            "system_identifier": "",
            "server_version": "16.1",
            "bytes": 1,
        },
        "instant": instant,
        "schema_name": "public",
        "ledger_found": True,
        "ledger": [],
        "migrations": [{"name": "m", "checksum": "0" * 64, "pending": True}],
        "backup": {"kind": "none", "asked": "none"},
        "tables": [{"table_schema": "public", "name": "t", "rows": 1, "checksum": "1"}],
        "large_objects": 0,
        "destroyed": [
            {
                "file": "destroyed/0001.gz",
                "table_schema": "public",
                "table": "t",
                "columns": ["id"],
                "key": ["id"],
                "rows": 1,
                "bytes": 2,
                "why": ["dropped"],
            }
        ],
        "unseen": [],
        "ways_down": [],
        "notes": [],
        "files": [{"path": "destroyed/0001.gz", "bytes": 1, "sha256": "0" * 64}],
    }
    return json.dumps(body).encode()
