"""Where everything is printed: data on stdout, messages on stderr, colours that mean one thing."""

import json
import os
import sys
from collections.abc import Mapping
from datetime import datetime
from pathlib import Path
from typing import Any

from rich.console import Console, RenderableType
from rich.text import Text
from rich.theme import Theme

from taly.cli.sinks import CleanConsole, own_way
from taly.errors import TalyError, UsageError
from taly.hostile import escaped
from taly.redaction import redact

FORMAT_VERSION = "1.0"
"""Of every `--json` output: a minor adds, a major changes (Terraform's rule)."""

THEME = Theme(
    {
        "good": "green",
        "bad": "bold red",
        "warn": "yellow",
        "quiet": "dim",
        "name": "bold",
        "command": "cyan",
    }
)
"""good: as it should be; bad: broken or refused; warn: look here; command: you can type this."""

WIDTH = 80


def _console(*, stderr: bool) -> Console:
    stream = sys.stderr if stderr else sys.stdout
    columns = None if stream.isatty() else int(os.environ.get("COLUMNS") or WIDTH)
    return CleanConsole(
        file=own_way(stream),
        theme=THEME,
        highlight=False,
        width=columns,
        soft_wrap=False,
        emoji=False,
    )


def out() -> Console:
    """The console for data."""
    return _console(stderr=False)


def err() -> Console:
    """The console for messages."""
    return _console(stderr=True)


def print_json(kind: str, body: Mapping[str, Any]) -> None:
    """Print one JSON document on stdout: format_version, kind, then `body`."""
    document = {"format_version": FORMAT_VERSION, "kind": kind, **body}
    text = json.dumps(document, indent=2, default=_plain, ensure_ascii=False)
    sys.stdout.write(escaped(redact(text)) + "\n")


def write_file(path: Path, text: str) -> None:
    """Write a file that the user named, without known secrets; UsageError when that cannot be."""
    try:
        path.write_text(redact(text), encoding="utf-8")
    except OSError as error:
        raise UsageError(
            f"{path} cannot be written: {error.strerror}",
            reference="file-not-writable",
            hint="the same command with another file",
        ) from error


def _plain(value: Any) -> Any:
    if isinstance(value, datetime):
        return value.isoformat()
    raise TypeError(f"{type(value).__name__} has no JSON form")


def print_error(error: TalyError) -> None:
    """Show an error as the design has it: reference, what is wrong, the command that helps."""
    console = err()
    console.print(f"error: {error.reference}", style="bad", markup=False)
    console.print()
    first, _, rest = error.message.partition("\n")
    console.print(f"× {first}", markup=False)
    if rest:
        console.print(rest, markup=False)
    print_hint(error.hint)


def print_error_json(error: TalyError) -> None:
    """Print an error as the one JSON document that a script gets instead of its answer."""
    body = {"reference": error.reference, "message": error.message, "hint": error.hint}
    print_json("error", {**body, "exit_code": int(error.exit_code)})


def print_hint(hint: str) -> None:
    """Name the command that helps; nothing when there is none."""
    if hint:
        console = err()
        console.print("hint: ", end="", style="quiet")
        console.print(hint, style="command", markup=False)


def ago(then: datetime | None, now: datetime) -> str:
    """`40 min ago`, `3 h ago`, `6 d ago`; `never` for None."""
    if then is None:
        return "never"
    passed = (now - then).total_seconds()
    if passed < 0:
        return f"in {span(-passed)}"
    return f"{span(passed)} ago"


def span(seconds: float) -> str:
    """A length of time in its largest sensible unit: `12 s`, `40 min`, `3 h`, `6 d`."""
    if seconds < 90:
        return f"{seconds:.0f} s"
    if seconds < 90 * 60:
        return f"{seconds / 60:.0f} min"
    if seconds < 36 * 3600:
        return f"{seconds / 3600:.0f} h"
    return f"{seconds / 86400:.0f} d"


def size(count: int | None) -> str:
    """A number of bytes in its largest sensible unit: `812 kB`, `2.3 GB`; None = not known."""
    if count is None:
        return "of unknown size"
    number = float(count)
    for unit in ("bytes", "kB", "MB", "GB"):
        if number < 1000 or unit == "GB":
            return f"{number:.1f} {unit}" if unit == "GB" else f"{number:.0f} {unit}"
        number /= 1000
    raise AssertionError("unreachable: the last unit takes any number")


def clock_span(seconds: float) -> str:
    """A length of time to the second: `5m 02s`, `42s`, `1h 03m`."""
    whole = round(seconds)
    if whole < 60:
        return f"{whole}s"
    if whole < 3600:
        return f"{whole // 60}m {whole % 60:02d}s"
    return f"{whole // 3600}h {whole % 3600 // 60:02d}m"


def local(instant: datetime) -> str:
    """An instant as its reader's wall clock shows it, to the minute: `Mon 23 Nov 11:45`."""
    return instant.astimezone().strftime("%a %d %b %H:%M")


def zone() -> str:
    """Whose wall clock `local` shows: `times are UTC`, `times are CET, UTC+01:00`."""
    now = datetime.now().astimezone()
    name, offset = now.strftime("%Z"), now.isoformat()[-6:]
    return f"times are {name}" if offset == "+00:00" else f"times are {name}, UTC{offset}"


def hanging(sign: Text, text: Text) -> RenderableType:
    """`text` beside its sign, so that lines which are folded stay beside it."""
    from rich.table import Table

    table = Table.grid(padding=(0, 1, 0, 0))
    table.add_column(width=sign.cell_len, no_wrap=True)
    table.add_column()
    table.add_row(sign, text)
    return table


def fit(text: str, width: int) -> str:
    """`text` in at most `width` characters, cut with an ellipsis."""
    return text if len(text) <= width else text[: width - 1] + "…"
