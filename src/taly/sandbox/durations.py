"""Spans of time as people write them in a scenario: `3d`, `-6h30m`, `90s`."""

import re
from datetime import timedelta

PATTERN = r"^-?(?=[0-9])([0-9]{1,6}d)?([0-9]{1,6}h)?([0-9]{1,6}m)?([0-9]{1,6}s)?$"
"""Also the JSON schema's pattern; a minus sign means before the sandbox came up."""

_NUMBER = re.compile(r"([0-9]+)([dhms])")
_UNITS = {"d": "days", "h": "hours", "m": "minutes", "s": "seconds"}


def parse_duration(text: str) -> timedelta:
    """The span that the text names; ValueError if it names none."""
    if not re.fullmatch(PATTERN, text) or text.endswith("\n"):
        raise ValueError(f"{text!r} is no span of time; write e.g. 5m, 6h30m or -3d")
    span = timedelta(**{_UNITS[unit]: int(number) for number, unit in _NUMBER.findall(text)})
    return -span if text.startswith("-") else span
