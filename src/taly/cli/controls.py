"""Takes out of a text what a terminal would obey instead of showing it.

Names, messages and commit titles are other people's: they may clear the screen, set the window's
title, or overwrite the line above. Only what is printed for people is changed: JSON has its own
escapes, and a script is to get what the vendor said.
"""

from rich.text import Text

from taly.hostile import OBEYED, visible

__all__ = ["visible", "visible_text"]


def visible_text(text: Text) -> Text:
    """The same for a styled text: taly's own styles stay where they were."""
    found = [one.span() for one in OBEYED.finditer(text.plain)]
    if not found:
        return text
    unwanted = {begin for begin, _ in found}
    cuts = sorted({at for span in found for at in span})
    clean = text.blank_copy()
    for begin, piece in zip([0, *cuts], text.divide(cuts), strict=True):
        if begin not in unwanted:
            clean.append_text(piece)
    return clean
