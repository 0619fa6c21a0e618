"""Reading what others wrote: bounded in length and depth, and never anything but data."""

import json
import re
from math import isfinite
from typing import Any

MAX_DEPTH = 64
"""Of nested JSON. Nothing that taly writes or vendors say is deeper than 20."""
MAX_TEXT_BYTES = 64 * 2**20
"""Of a document for which nothing smaller is known."""
OBEYED = re.compile(
    r"""(?x)
      (?:\x1b\[|\x9b)[0-9;:<=>?]*[!"\#$%&'()*+,./-]*[@-~]  # CSI: colours, the cursor, the screen
    | (?:\x1b\]|\x9d)[0-9]*;?       # OSC: titles, links, the clipboard; its text stays, and is seen
    | \x1b[PX^_NOc78=><M]           # strings, shifts, a reset
    | \x1b\\                        # the end of a string
    | [\x00-\x08\x0b-\x1f\x7f-\x9f] # C0 but tabs and line ends, DEL, C1
    | [\u061c\u200e\u200f\u202a-\u202e\u2066-\u2069]  # text that runs the other way
    | [\ud800-\udfff]               # halves of characters, which no stream takes
    """
)
"""What a terminal obeys instead of showing it."""
LONE = re.compile(r"\\u[dD][89a-fA-F]")


def visible(text: str) -> str:
    """The text without control characters and escape sequences; tabs and line ends stay."""
    return OBEYED.sub("", text)


def escaped(document: str) -> str:
    """JSON text that says the same, without a character that a terminal would obey.

    JSON itself leaves those above ASCII as they are: C1 controls, text that runs the other way.
    """
    return OBEYED.sub(lambda found: "".join(map(_escape, found[0])), document)


def _escape(char: str) -> str:
    return char if char in " \n\t" or "\x20" <= char < "\x7f" else f"\\u{ord(char):04x}"


def json_value(text: str | bytes, *, limit: int = MAX_TEXT_BYTES, depth: int = MAX_DEPTH) -> Any:
    """The JSON in this text; ValueError, in a few words, when it is none or goes beyond a limit.

    `limit`: characters or bytes. Refused as well: a key that stands twice, numbers that are none
    (NaN, Infinity, 1e999) or longer than Python reads, and halves of surrogate pairs, which no
    terminal or file can be given.
    """
    if len(text) > limit:
        raise ValueError(f"it is longer than {limit} bytes")
    try:
        whole = text.decode("utf-8") if isinstance(text, bytes) else text
        value = json.loads(
            whole,
            object_pairs_hook=_object,
            parse_constant=_constant,
            parse_float=_float,
        )
    except RecursionError:
        raise ValueError("it is nested too deeply") from None
    except UnicodeDecodeError:
        raise ValueError("it is not UTF-8") from None
    except json.JSONDecodeError as error:
        raise ValueError(f"it is no JSON: {error.msg}, line {error.lineno}") from None
    if whole.count("[") + whole.count("{") > depth or LONE.search(whole):
        _walk(value, depth)
    return value


def _object(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(pairs)
    if len(found) != len(pairs):
        raise ValueError("a key stands in it twice")
    return found


def _constant(text: str) -> float:
    raise ValueError(f"{text} is no number")


def _float(text: str) -> float:
    number = float(text)
    if not isfinite(number):
        raise ValueError("a number in it is too large")
    return number


def _walk(value: Any, depth: int) -> None:
    """Level by level: nothing here recurses."""
    level = [value]
    for _ in range(depth + 1):
        if not level:
            return
        below: list[Any] = []
        for one in level:
            if isinstance(one, dict):
                below += one.keys()
                below += one.values()
            elif isinstance(one, list):
                below += one
            elif isinstance(one, str):
                _check_text(one)
        level = below
    if any(isinstance(one, dict | list) for one in level):
        raise ValueError("it is nested too deeply")


def _check_text(text: str) -> None:
    try:
        text.encode()
    except UnicodeEncodeError:
        raise ValueError("a text in it holds half a character") from None
