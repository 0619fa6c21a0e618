"""The framework's artifact directories in the deployment bucket."""

from collections.abc import Iterable
from dataclasses import dataclass
from datetime import datetime

from taly.planning.timestamps import instant_of

TEMPLATE_FILE = "compiled-cloudformation-template.json"


@dataclass(frozen=True, slots=True, kw_only=True)
class Directory:
    """One upload: made before the stack is updated, so it proves no success."""

    name: str
    """`<epoch ms>-<ISO>`."""
    at: datetime
    keys: tuple[str, ...]

    @property
    def has_template(self) -> bool:
        """Whether the compiled template is still there."""
        return any(key.endswith(f"/{TEMPLATE_FILE}") for key in self.keys)


def grouped(prefix: str, keys: Iterable[str]) -> tuple[Directory, ...]:
    """The directories that these keys under `prefix` (with its slash) make, oldest first."""
    by_name: dict[str, list[str]] = {}
    for key in keys:
        name, slash, _ = key.removeprefix(prefix).partition("/")
        if slash and key.startswith(prefix):
            by_name.setdefault(name, []).append(key)
    found = [
        Directory(name=name, at=at, keys=tuple(sorted(inside)))
        for name, inside in by_name.items()
        if (at := instant_of(name)) is not None
    ]
    return tuple(sorted(found, key=lambda one: (one.at, one.name)))
