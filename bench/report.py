"""The table for people and the JSON for everything else."""

from collections.abc import Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

from rich.console import Group, RenderableType
from rich.table import Table
from rich.text import Text

from bench.figures import Figure

FORMAT_VERSION = "1.0"
PAGE = Path(__file__).parents[1] / "docs" / "reference" / "benchmarks.md"
BEGIN, END = "<!-- figures: written by `python -m bench --docs` -->\n", "<!-- end of figures -->\n"
STYLES = {"met": "green", "missed": "bold red", "skipped": "dim", "failed": "bold red"}


def table(figures: Sequence[Figure], machine: Mapping[str, Any]) -> RenderableType:
    """All figures, each with what it was computed from, in 80 columns."""
    rows = Table(box=None, padding=(0, 1, 0, 0), header_style="dim")
    rows.add_column("", width=1)
    rows.add_column("what", width=42)
    rows.add_column("measured", justify="right", no_wrap=True)
    rows.add_column("goal", justify="right", no_wrap=True)
    rows.add_column("n", justify="right", no_wrap=True)
    rows.add_column("", no_wrap=True)
    for figure in figures:
        style = STYLES.get(figure.status, "")
        rows.add_row(
            figure.part,
            Text(figure.title).append(f"\n{figure.note}", style="dim"),
            Text(shown(figure.value, figure.unit), style=style),
            _goal(figure),
            str(figure.n) if figure.value is not None else "",
            Text("" if figure.status == "no goal" else figure.status, style=style),
        )
    facts = ", ".join(f"{name} {value}" for name, value in machine.items())
    return Group(rows, Text(), Text(facts, style="dim"))


def shown(value: float | None, unit: str) -> str:
    """`1.04 ×`, `842 ms`."""
    if value is None:
        return "–"
    digits = 0 if unit in ("ms", "MiB") else 1 if value >= 10 else 2
    if unit == "×" and value < 10:
        digits = 3 if value < 2 else 1
    return f"{value:.{digits}f} {unit}".strip()


def _goal(figure: Figure) -> str:
    if figure.goal is None:
        return ""
    return f"{'≥' if figure.at_least else '≤'} {figure.goal:g}"


def body(figures: Sequence[Figure], machine: Mapping[str, Any], *, quick: bool) -> dict[str, Any]:
    """What is saved; units stand beside the values, all times in it are seconds."""
    return {
        "format_version": FORMAT_VERSION,
        "kind": "bench",
        "quick": quick,
        "machine": dict(machine),
        "figures": [
            {key: value for key, value in asdict(figure).items() if key != "failed"}
            | {"status": figure.status}
            for figure in figures
        ],
    }


def kept(said: Mapping[str, Any], earlier: Mapping[str, Any], parts: str) -> dict[str, Any]:
    """A result of these parts only, with the other parts' figures of an earlier one.

    `parts` as `--only` names them; f measures g, h and i as well. Each kept figure says from which
    run it is.
    """
    measured = set(parts) | (set("ghi") if "f" in parts else set())
    machine = earlier["machine"]
    others = [
        {"of": {name: machine.get(name) for name in ("at", "commit", "load_before")}} | row
        for row in earlier["figures"]
        if row["part"] not in measured
    ]
    figures = sorted([*others, *said["figures"]], key=lambda row: str(row["part"]))
    return {**said, "figures": figures}


def with_figures(page: str, said: Mapping[str, Any]) -> str:
    """The documentation page with this result's figures in place of those that it has."""
    before, _, rest = page.partition(BEGIN)
    _, _, after = rest.partition(END)
    return before + BEGIN + markdown(said) + END + after


def markdown(said: Mapping[str, Any]) -> str:
    """A saved result as a table in Markdown, and the machine that it comes from."""
    lines = ["| | what | measured | goal | | n | from |", "|---|---|---:|---:|---|---:|---|"]
    for row in said["figures"]:
        sign = "≥" if row["at_least"] else "≤"
        goal = "" if row["goal"] is None else f"{sign} {row['goal']:g}"
        status = "" if row["status"] == "no goal" else f"**{row['status']}**"
        value = shown(row["value"], row["unit"])
        note = row["note"]
        if "of" in row:
            of = row["of"]
            note += f"; of {of['at'][:10]}, commit {of['commit']}, load {of['load_before']}"
        cells = (row["part"], row["title"], value, goal, status, str(row["n"]), note)
        lines.append(f"| {' | '.join(cells)} |")
    facts = "; ".join(f"{name.replace('_', ' ')} {it}" for name, it in said["machine"].items())
    return "\n".join([*lines, "", f"Machine: {facts}.", ""])
