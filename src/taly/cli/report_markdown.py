"""A report as Markdown: for a post-mortem document, an issue or a chat."""

import re
from collections.abc import Iterator
from typing import assert_never

from taly.cli.output import clock_span, fit
from taly.cli.report_page import (
    Block,
    Chart,
    Commands,
    Grid,
    Points,
    Says,
    Verdict,
    printable,
    sections,
    title,
)
from taly.planning.report import Report, Timed

WIDTH = 40
NAME_WIDTH = 30
_SPECIAL = re.compile(r"[\\`*\[\]<>|&~#$]|(?<![^\W_])_|_(?![^\W_])|(?<=:)//|(?<=www)\.")


def markdown(report: Report) -> str:
    """The whole report."""
    parts = [f"# {escaped(title(report))}"]
    for section in sections(report):
        parts.append(f"## {section.title}")
        parts += [_block(block) for block in section.blocks]
    return "\n\n".join(part for part in parts if part) + "\n"


def escaped(text: str) -> str:
    """`text` as Markdown shows it and never reads it: no links, images, HTML or cells."""
    return _SPECIAL.sub(lambda found: "".join(f"\\{char}" for char in found[0]), printable(text))


def _block(block: Block) -> str:
    match block:
        case Says(text=text):
            return escaped(text)
        case Verdict(text=text):
            return f"**{escaped(text)}**"
        case Points(items=items):
            return "\n".join(f"- {escaped(item)}" for item in items)
        case Grid():
            return "\n".join(_grid(block))
        case Commands(items=items):
            return "\n".join(f"- {_code(command)}: {escaped(why)}" for command, why in items)
        case Chart(report=report):
            return "\n".join(_chart(report))
        case _:
            assert_never(block)


def _grid(grid: Grid) -> Iterator[str]:
    columns = len(grid.head or (grid.rows[0] if grid.rows else ()))
    if not columns:
        return
    yield _row(grid.head or ("",) * columns)
    yield "|" + " --- |" * columns
    for row in grid.rows:
        yield _row(row)


def _row(cells: tuple[str, ...]) -> str:
    return "| " + " | ".join(escaped(cell) for cell in cells) + " |"


def _code(command: str) -> str:
    """Between as many backticks as the text cannot hold."""
    text = printable(command)
    longest = max((len(run) for run in re.findall(r"`+", text)), default=0)
    fence = "`" * (longest + 1)
    pad = " " if longest else ""
    return f"{fence}{pad}{text}{pad}{fence}"


def _chart(report: Report) -> Iterator[str]:
    """Two bars a step: `░` the forecast, `█` what was, `×` where it failed, `/` while it waited."""
    yield "```text"
    end = max(_ends(report), default=1.0) or 1.0
    for step in report.steps:
        name = fit(printable(step.name).replace("`", "'"), NAME_WIDTH)
        until = step.forecast_from_s + step.forecast_s
        forecast = _bar(" " * WIDTH, "░", step.forecast_from_s, until, end)
        yield f"{name:<{NAME_WIDTH}} {forecast} {clock_span(step.forecast_s)}".rstrip()
        took = "" if step.seconds is None else clock_span(step.seconds)
        yield f"{'':<{NAME_WIDTH}} {_real(step, end)} {took}".rstrip()
    yield "```"
    yield ""
    yield "`░` forecast, `█` real, `×` failed, `?` not known, `/` waited."


def _real(step: Timed, end: float) -> str:
    line = " " * WIDTH
    if step.from_s is None:
        return line
    sign = {"failed": "×", "unknown": "?"}.get(step.phase, "█")
    until = end if step.seconds is None else step.from_s + step.seconds
    line = _bar(line, sign, step.from_s, until, end)
    for wait in step.waits:
        line = _bar(line, "/", wait.from_s, wait.to_s, end)
    return _bar(line, sign, until, until, end)  # its end is seen however long it waited


def _bar(line: str, sign: str, from_s: float, to_s: float, end: float) -> str:
    left = min(WIDTH - 1, int(from_s / end * WIDTH))
    right = min(WIDTH, max(left + 1, round(to_s / end * WIDTH)))
    return line[:left] + sign * (right - left) + line[right:]


def _ends(report: Report) -> Iterator[float]:
    for step in report.steps:
        yield step.forecast_from_s + step.forecast_s
        if step.from_s is not None:
            yield step.from_s + (step.seconds or 0.0)
