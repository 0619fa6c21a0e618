"""Spans of time as people write them in a scenario: `3d`, `-6h30m`, `90s`."""

import re
from datetime import timedelta

PATTERN = r"^-?(?=\d)(\d+d)?(\d+h)?(\d+m)?(\d+s)?$"
"""Also the JSON schema's pattern; a minus sign means before the sandbox came up."""

_FORM = re.compile(r"^(-?)(?=\d)(?:(\d+)d)?(?:(\d+)h)?(?:(\d+)m)?(?:(\d+)s)?$")


def parse_duration(text: str) -> timedelta:
    """The span that the text names; ValueError if it names none."""
    match = _FORM.match(text)
    if match is None:
        raise ValueError(f"{text!r} is no span of time; write e.g. 5m, 6h30m or -3d")
    sign, *numbers = match.groups()
    days, hours, minutes, seconds = (int(number or 0) for number in numbers)
    span = timedelta(days=days, hours=hours, minutes=minutes, seconds=seconds)
    return -span if sign else span
