"""A report as one HTML file that stands alone: nothing is loaded, nothing is run."""

from collections.abc import Iterator
from html import escape
from typing import assert_never

from taly.cli.report_chart import chart
from taly.cli.report_page import (
    Block,
    Chart,
    Commands,
    Grid,
    Points,
    Says,
    Section,
    Verdict,
    printable,
    sections,
    title,
)
from taly.planning.report import Report

POLICY = "default-src 'none'; style-src 'unsafe-inline'; base-uri 'none'; form-action 'none'"
"""What a browser may do for the page (CSP): apply its own style. A second wall behind escaping."""

STYLE = """
:root { color-scheme: light dark; --ink: #1c2126; --quiet: #5c6670; --paper: #fff; --line: #d5dae0;
  --pale: #7f9dcb; --strong: #1f4f94; --good: #1a7f4b; --bad: #c42b2b; --warn: #9a6700; }
@media (prefers-color-scheme: dark) { :root { --ink: #e4e8ec; --quiet: #9aa5b0; --paper: #15191d;
  --line: #363e46; --pale: #50709f; --strong: #8fb9f5; --good: #4cc38a; --bad: #ff7b72;
  --warn: #e0b341; } }
* { box-sizing: border-box; }
body { margin: 0 auto; padding: 2rem 1.25rem; max-width: 62rem; color: var(--ink);
  background: var(--paper); font: 15px/1.5 system-ui, sans-serif; }
h1 { font-size: 1.6rem; line-height: 1.25; margin: 0 0 1rem; overflow-wrap: anywhere; }
h2 { font-size: 1.1rem; margin: 2rem 0 .5rem; border-bottom: 1px solid var(--line); }
.verdict { border-left: 4px solid var(--warn); padding: .4rem .8rem; font-weight: 600; }
.verdict.succeeded { border-color: var(--good); }
.verdict.failed, .verdict.verification-failed { border-color: var(--bad); }
.wide { overflow-x: auto; } .wide svg { min-width: 38rem; } .many { min-width: 46rem; }
table { border-collapse: collapse; width: 100%; font-size: .88rem; }
th, td { text-align: left; vertical-align: top; padding: .25rem .6rem .25rem 0;
  border-bottom: 1px solid var(--line); overflow-wrap: break-word; }
td:last-child { overflow-wrap: anywhere; padding-right: 0; }
.short { white-space: nowrap; }
thead th { color: var(--quiet); font-weight: 600; }
tbody th { font-weight: 600; width: 15rem; }
@media (max-width: 40rem) { body { padding: 1rem .8rem; } tbody th { width: 9rem; } }
code { font: .9em ui-monospace, monospace; padding: .1em .35em; border-radius: 3px;
  background: color-mix(in srgb, var(--ink) 8%, transparent); overflow-wrap: anywhere; }
svg { width: 100%; height: auto; font: 12px system-ui, sans-serif; fill: var(--ink); }
.grid { stroke: var(--line); } .tick, .took { fill: var(--quiet); font-size: 11px; }
.forecast { fill: var(--pale); } .done, .running { fill: var(--strong); }
.failed { fill: var(--bad); } .unknown { fill: var(--warn); }
rect.wait { fill: url(#waits); }
.wait-ground { fill: var(--paper); } .wait-line { fill: var(--quiet); }
.idle { opacity: .35; }
.key span { display: inline-block; width: 1.6em; height: .7em; margin: 0 .3em 0 1em; }
.key { color: var(--quiet); font-size: .85rem; }
.key .hatched {
  background: repeating-linear-gradient(45deg, var(--quiet) 0 2px, var(--paper) 2px 5px); }
footer { margin-top: 2.5rem; color: var(--quiet); font-size: .8rem; }
@page { size: A4; margin: 16mm; }
@media print { :root { color-scheme: light; --ink: #000; --quiet: #444; --paper: #fff; --line: #bbb;
  --pale: #7f9dcb; --strong: #1f4f94; --good: #1a7f4b; --bad: #c42b2b; --warn: #9a6700; }
  body { padding: 0; max-width: none; font-size: 10pt; print-color-adjust: exact; }
  .wide { overflow: visible; } .wide svg, .many { min-width: 0; } table { font-size: 8pt; }
  h2 { break-after: avoid; } tr, li, svg { break-inside: avoid; } }
"""

SHORT = 23
"""Characters up to which a cell is not broken into lines: an instant, a name, a commit."""
MANY = 5
"""Columns from which on a table scrolls on a narrow screen rather than be squeezed."""

KEY = (
    '<p class="key"><span style="background:var(--pale)"></span>forecast'
    '<span style="background:var(--strong)"></span>real'
    '<span style="background:var(--bad)"></span>failed'
    '<span style="background:var(--warn)"></span>not known'
    '<span class="hatched"></span>waited</p>'
)


def html(report: Report) -> str:
    """The whole page."""
    heading = _text(title(report))
    parts = [
        '<!DOCTYPE html>\n<html lang="en">\n<head>\n<meta charset="utf-8">',
        f'<meta http-equiv="Content-Security-Policy" content="{POLICY}">',
        '<meta name="viewport" content="width=device-width, initial-scale=1">',
        '<meta name="color-scheme" content="light dark">',
        f"<title>{heading}</title>\n<style>{STYLE}</style>\n</head>\n<body>\n<h1>{heading}</h1>",
    ]
    for section in sections(report):
        parts += _section(section)
    parts.append(f"<footer>{_text(f'taly {report.version}, {report.run}')}</footer>")
    return "\n".join([*parts, "</body>\n</html>\n"])


def _section(section: Section) -> Iterator[str]:
    yield f"<section>\n<h2>{_text(section.title)}</h2>"
    yield from map(_block, section.blocks)
    yield "</section>"


def _block(block: Block) -> str:
    match block:
        case Says(text=text):
            return f"<p>{_text(text)}</p>"
        case Verdict(text=text, outcome=outcome):
            return f'<p class="verdict {escape(outcome)}">{_text(text)}</p>'
        case Points(items=items):
            return _list(_text(item) for item in items)
        case Grid():
            return _grid(block)
        case Commands(items=items):
            return _list(f"<code>{_text(command)}</code> {_text(why)}" for command, why in items)
        case Chart(report=report):
            return f'<div class="wide">{chart(report)}</div>\n{KEY}'
        case _:
            assert_never(block)


def _list(items: Iterator[str]) -> str:
    return "<ul>\n" + "\n".join(f"<li>{item}</li>" for item in items) + "\n</ul>"


def _grid(grid: Grid) -> str:
    head = "".join(f"<th>{_text(cell)}</th>" for cell in grid.head)
    lines = [f"<thead><tr>{head}</tr></thead>"] if head else []
    lines += [_row(row, named=not head) for row in grid.rows]
    if head:
        lines[1:] = ["<tbody>", *lines[1:], "</tbody>"]
    else:
        lines = ["<tbody>", *lines, "</tbody>"]
    many = ' class="many"' if len(grid.head) >= MANY else ""
    return f'<div class="wide"><table{many}>\n' + "\n".join(lines) + "\n</table></div>"


def _row(cells: tuple[str, ...], *, named: bool) -> str:
    first, *rest = cells
    head = f"<th>{_text(first)}</th>" if named else _cell(first)
    return f"<tr>{head}{''.join(_cell(cell) for cell in rest)}</tr>"


def _cell(text: str) -> str:
    """A cell; what is short is never broken into lines."""
    kind = ' class="short"' if len(text) <= SHORT else ""
    return f"<td{kind}>{_text(text)}</td>"


def _text(text: str) -> str:
    return escape(printable(text))
