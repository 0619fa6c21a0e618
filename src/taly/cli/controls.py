"""Takes out of a text what a terminal would obey instead of showing it.

Names, messages and commit titles are other people's: they may clear the screen, set the window's
title, or overwrite the line above. Only what is printed for people is changed: JSON has its own
escapes, and a script is to get what the vendor said.
"""

import re

from rich.text import Text

_OBEYED = re.compile(
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


def visible(text: str) -> str:
    """The text without control characters and escape sequences; tabs and line ends stay."""
    return _OBEYED.sub("", text)


def visible_text(text: Text) -> Text:
    """The same for a styled text: taly's own styles stay where they were."""
    found = [one.span() for one in _OBEYED.finditer(text.plain)]
    if not found:
        return text
    unwanted = {begin for begin, _ in found}
    cuts = sorted({at for span in found for at in span})
    clean = text.blank_copy()
    for begin, piece in zip([0, *cuts], text.divide(cuts), strict=True):
        if begin not in unwanted:
            clean.append_text(piece)
    return clean
