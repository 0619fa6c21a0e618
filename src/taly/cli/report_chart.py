"""The steps of a run against their forecast, as one SVG picture."""

from collections.abc import Iterator
from html import escape

from taly.cli.output import clock_span, fit
from taly.cli.report_page import printable
from taly.planning.report import Report, Timed

WIDTH = 760
NAMES = 210
"""Width of the column of names."""
TOOK = 90
"""Width of the column of times."""
ROW = 26
TOP = 24
FORECAST_HEIGHT = 7
REAL_HEIGHT = 9
NAME_LENGTH = 32
TICKS = (1, 2, 5, 10, 15, 30, 60, 120, 300, 600, 900, 1800, 3600, 7200, 14400, 43200, 86400)
"""Seconds between two lines of the grid; the first with few enough of them is taken."""
MOST_TICKS = 8

HATCHING = (
    '<defs><pattern id="waits" width="6" height="6" patternUnits="userSpaceOnUse" '
    'patternTransform="rotate(45)"><rect class="wait-ground" width="6" height="6"/>'
    '<rect class="wait-line" width="2" height="6"/></pattern></defs>'
)


def chart(report: Report) -> str:
    """Two bars a step: the forecast pale, what was strong; failed red, waits hatched."""
    end = _end(report)
    height = TOP + ROW * len(report.steps) + 8
    parts = [
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {height}" role="img" '
        'aria-labelledby="chart-title">',
        '<title id="chart-title">Each step of the run against its forecast</title>',
        HATCHING,
        *_grid(end, height),
        *(_band(one.from_s, one.to_s, end, height) for one in report.idle),
    ]
    for number, step in enumerate(report.steps):
        parts += _step(step, TOP + ROW * number, end)
    return "\n".join([*parts, "</svg>"])


def _end(report: Report) -> float:
    ends = [1.0]
    for step in report.steps:
        ends.append(step.forecast_from_s + step.forecast_s)
        ends.append((step.from_s or 0.0) + (step.seconds or 0.0))
        ends += [one.to_s for one in step.waits]
    return max([*ends, *(one.to_s for one in report.idle)])


def _x(seconds: float, end: float) -> float:
    return NAMES + seconds / end * (WIDTH - NAMES - TOOK)


def _grid(end: float, height: int) -> Iterator[str]:
    every = next((one for one in TICKS if end / one <= MOST_TICKS), max(TICKS[-1], end))
    for number in range(int(end / every) + 1):
        x = _x(number * every, end)
        yield f'<line class="grid" x1="{x:.1f}" y1="{TOP - 6}" x2="{x:.1f}" y2="{height - 6}"/>'
        label = clock_span(number * every)
        yield f'<text class="tick" x="{x:.1f}" y="12" text-anchor="middle">{label}</text>'


def _band(from_s: float, to_s: float, end: float, height: int) -> str:
    title = "<title>no process worked on the run</title>"
    return _rect("wait idle", from_s, to_s, end, TOP - 6, height - TOP, title)


def _step(step: Timed, top: float, end: float) -> Iterator[str]:
    name = printable(step.name)
    yield (
        f'<text class="name" x="0" y="{top + 13}">{escape(fit(name, NAME_LENGTH))}'
        f"<title>{escape(name)}</title></text>"
    )
    forecast_end = step.forecast_from_s + step.forecast_s
    forecast = _titled(f"forecast {clock_span(step.forecast_s)}")
    yield _rect("forecast", step.forecast_from_s, forecast_end, end, top, FORECAST_HEIGHT, forecast)
    if step.from_s is None:
        yield _time("not begun", top)
        return
    yield from _real(step, step.from_s, top + FORECAST_HEIGHT + 1, end)
    yield _time("not ended" if step.seconds is None else clock_span(step.seconds), top)


def _real(step: Timed, from_s: float, top: float, end: float) -> Iterator[str]:
    until = end if step.seconds is None else from_s + step.seconds
    phase = step.phase if step.phase in ("done", "failed", "unknown", "running") else "done"
    yield _rect(f"real {phase}", from_s, until, end, top, REAL_HEIGHT, _titled(step.phase))
    for wait in step.waits:
        said = _titled(f"{wait.why}: {clock_span(wait.to_s - wait.from_s)}")
        yield _rect("wait", wait.from_s, wait.to_s, end, top, REAL_HEIGHT, said)


def _time(text: str, top: float) -> str:
    return f'<text class="took" x="{WIDTH}" y="{top + 13}" text-anchor="end">{text}</text>'


def _titled(text: str) -> str:
    return f"<title>{escape(printable(text))}</title>"


def _rect(
    kind: str, from_s: float, to_s: float, end: float, top: float, height: float, title: str
) -> str:
    left = _x(from_s, end)
    width = max(1.5, _x(to_s, end) - left)
    return (
        f'<rect class="{kind}" x="{left:.1f}" y="{top:g}" width="{width:.1f}" height="{height:g}" '
        f'rx="1.5">{title}</rect>'
    )
