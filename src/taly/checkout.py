"""What a deployable part's own files say of it; each provider reads the files of its tool."""

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from taly.hostile import json_value

MAX_BYTES = 1_000_000
"""Of one file."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Found:
    """A deployable part that a file speaks of."""

    name: str
    """What to call it: the service's, the package's or the folder's name."""
    provider: str
    path: str
    """The file that says so, relative to the checkout."""
    settings: Mapping[str, str] = field(default_factory=dict)
    """What the file tells of taly.toml's settings."""
    unusable: str = ""
    """Why it cannot be used; empty = it can."""


Reader = Callable[[Path, Path, str], Iterator[Found]]
"""Reads one file: its path, the checkout's root, and what stands for `${opt:stage}`."""

Readers = Mapping[tuple[str, str], Reader]
"""(the file's name, the name of the folder that it must lie in; empty = any) → who reads it."""


def text(path: Path) -> str:
    """The file's text; ValueError when it is too large or no UTF-8, OSError when unreadable."""
    if path.stat().st_size > MAX_BYTES:
        raise ValueError(f"larger than {MAX_BYTES // 1000} kB")
    return path.read_text(encoding="utf-8")


def relative(path: Path, root: Path) -> str:
    """The path below the checkout's root, with slashes."""
    return path.relative_to(root).as_posix()


def package_name(folder: Path) -> str:
    """The name in package.json without its scope, else the folder's own name."""
    try:
        name = json_value(text(folder / "package.json")).get("name", "")
    except (OSError, ValueError, AttributeError):
        name = ""
    return str(name).rpartition("/")[2] or folder.resolve().name


def json_object(path: Path) -> dict[str, Any]:
    """The object that the file holds; ValueError or OSError when there is none."""
    document = json_value(text(path))
    if not isinstance(document, dict):
        raise ValueError("not a JSON object")
    return document


def unusable(name: str, provider: str, where: str, reason: str) -> Found:
    """A part that cannot become a component as it stands, and why."""
    return Found(name=name, provider=provider, path=where, unusable=reason)
