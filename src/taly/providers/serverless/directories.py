"""The framework's artifact directories in the deployment bucket, and what people call them."""

import re
from collections.abc import Iterable
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta

from taly.errors import UsageError

TEMPLATE_FILE = "compiled-cloudformation-template.json"
_NAME = re.compile(r"^(\d{10,17})-(\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z)$")
_TIME = re.compile(
    r"^(\d{4}-\d\d-\d\d)[T ](\d\d:\d\d)(?::(\d\d))?(?:\.(\d{1,6}))?\s*(Z|UTC|[+-]\d\d:?\d\d)?$",
    re.I,
)
EPOCH = datetime(1970, 1, 1, tzinfo=UTC)


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


def instant_of(name: str) -> datetime | None:
    """When the directory of that name was made; None if it is no directory of the framework."""
    match = _NAME.match(name)
    return EPOCH + timedelta(milliseconds=int(match[1])) if match else None


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


def match_directory(text: str, directories: Iterable[str]) -> str:
    """The one directory that the text means.

    Accepted: the directory's name, epoch milliseconds or seconds, ISO 8601 with or without
    milliseconds, seconds and zone (none is UTC, as in the names), and what `serverless deploy
    list` prints. The framework itself takes only the first and full ISO. Raises UsageError when
    none or more than one matches.
    """
    names = sorted(set(directories))
    found = [name for name in names if _means(text.strip(), name)]
    if len(found) == 1:
        return found[0]
    if not found:
        raise UsageError(
            f"no deployment matches {text!r}", reference="deployment-unknown", hint="taly releases"
        )
    raise UsageError(
        f"{text!r} matches {len(found)} deployments: {', '.join(found)}",
        reference="deployment-ambiguous",
        hint="taly releases",
    )


def _means(text: str, name: str) -> bool:
    text = re.sub(r"^(timestamp|datetime):\s*", "", text, flags=re.I)
    if text.strip("/").rpartition("/")[2] == name:
        return True
    at = instant_of(name)
    if at is None:
        return False
    ms = (at - EPOCH) // timedelta(milliseconds=1)
    if text.isdigit():
        return int(text) in (ms, ms // 1000)
    asked = _span(text)
    return asked is not None and asked[0] <= at < asked[0] + asked[1]


def _span(text: str) -> tuple[datetime, timedelta] | None:
    """The instant that a time names, and how wide it is: what is not said may be anything."""
    match = _TIME.match(text)
    if match is None:
        return None
    date, minute, second, fraction, zone = match.groups()
    offset = "+00:00" if (zone or "Z").upper() in ("Z", "UTC") else zone
    try:
        start = datetime.fromisoformat(f"{date}T{minute}:{second or '00'}{offset}")
    except ValueError:
        return None
    if fraction:
        width = timedelta(milliseconds=1)
        return start + timedelta(milliseconds=int(fraction.ljust(3, "0")[:3])), width
    return start, timedelta(seconds=1) if second else timedelta(minutes=1)
