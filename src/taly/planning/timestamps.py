"""What people call a Serverless Framework deployment: its directory's name, or its time."""

import re
from collections.abc import Iterable
from datetime import UTC, datetime, timedelta

_NAME = re.compile(r"^(\d{10,17})-(\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z)$")
_TIME = re.compile(
    r"^(\d{4}-\d\d-\d\d)[T ](\d\d:\d\d)(?::(\d\d))?(?:\.(\d{1,6}))?\s*(Z|UTC|[+-]\d\d:?\d\d)?$",
    re.I,
)
EPOCH = datetime(1970, 1, 1, tzinfo=UTC)


def instant_of(name: str) -> datetime | None:
    """When the directory of that name was made; None if it is no directory of the framework."""
    match = _NAME.match(name)
    return EPOCH + timedelta(milliseconds=int(match[1])) if match else None


def directories_meant(text: str, names: Iterable[str]) -> list[str]:
    """Those of these directories that the text means.

    Accepted: the directory's name, epoch milliseconds or seconds, ISO 8601 with or without
    milliseconds, seconds and zone (none is UTC, as in the names), and what `serverless deploy
    list` prints. The framework itself takes only epoch milliseconds and full ISO.
    """
    return sorted(name for name in set(names) if _means(text.strip(), name))


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
