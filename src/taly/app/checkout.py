"""Reads a checkout: which deployable parts it holds, from the files that their tools leave."""

from collections.abc import Iterator
from pathlib import Path

from taly.checkout import Found, Reader, Readers
from taly.database.checkout import READERS as DATABASE
from taly.providers.apprunner.checkout import READERS as APPRUNNER
from taly.providers.netlify.checkout import READERS as NETLIFY
from taly.providers.serverless.checkout import READERS as SERVERLESS
from taly.providers.vercel.checkout import READERS as VERCEL

READERS: Readers = {**APPRUNNER, **NETLIFY, **VERCEL, **SERVERLESS, **DATABASE}
SKIPPED = frozenset(
    {".git", "node_modules", "dist", "build", ".venv", "venv", ".next", ".serverless", ".taly"}
)
MAX_FILES = 200_000


def scan(root: Path, *, stage: str) -> list[Found]:
    """Every deployable part below `root`; `stage` stands for `${opt:stage}` in serverless.yml."""
    found: list[Found] = []
    for path in _files(root):
        reader = _reader(path)
        if reader is not None:
            found.extend(reader(path, root, stage))
    return sorted(found, key=lambda item: (item.provider, item.path))


def _files(root: Path) -> Iterator[Path]:
    folders, seen = [root], 0
    while folders:
        folder = folders.pop()
        for entry in sorted(folder.iterdir()):
            seen += 1
            if seen > MAX_FILES:
                return
            if entry.is_symlink():
                continue
            if entry.is_dir():
                if entry.name not in SKIPPED:
                    folders.append(entry)
            else:
                yield entry


def _reader(path: Path) -> Reader | None:
    return READERS.get((path.name, path.parent.name)) or READERS.get((path.name, ""))
