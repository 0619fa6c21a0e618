"""What is typed on a command line is seen by everybody on the machine, and kept by the shell."""

from collections.abc import Iterator, Sequence

from taly.errors import UsageError
from taly.redaction import KNOWN, passwords

INSTEAD = {
    "--store": "export TALY_STORE=postgresql://…   (without --store)",
    "--database-url": "export TALY_SANDBOX_DATABASE_URL=postgresql://…   (without --database-url)",
    "--into": "export RESCUE_URL=…, then --into RESCUE_URL",
}
"""Flag → the command that says the same without showing it."""
ELSE = "put it into an environment variable; taly.toml names those that are read"


def refuse_passwords(arguments: Sequence[str]) -> None:
    """Return where no argument, of whatever command, holds a URL with a password.

    Each password is known from here on, so that no later message repeats it. UsageError
    `password-on-command-line` names the flag and what to do instead.
    """
    found = [flag for flag, text in _given(arguments) if _shows_one(text)]
    if found:
        flag = found[0] or "an argument"
        raise UsageError(
            f"{flag}: a password does not belong on a command line",
            reference="password-on-command-line",
            hint=INSTEAD.get(flag, ELSE),
        )


def _given(arguments: Sequence[str]) -> Iterator[tuple[str, str]]:
    """Each text with the flag that it belongs to, or seems to; empty for a plain argument."""
    before = ""
    for one in arguments:
        flag, is_one, text = one.partition("=")
        if flag.startswith("--") and is_one:
            yield flag, text
        else:
            yield before, one
        before = one if one.startswith("-") and "=" not in one else ""


def _shows_one(text: str) -> bool:
    shown = False
    for word in (text, *text.split()):
        if "://" in word and any(passwords(word)):
            KNOWN.add_url(word)
            shown = True
    return shown
