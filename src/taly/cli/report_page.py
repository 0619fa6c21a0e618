"""What a report says, in blocks that Markdown and HTML draw each in its own way."""

import re
import unicodedata
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime

from taly.cli.output import clock_span, size, span
from taly.model.release import Mark
from taly.planning.report import Changed, Checked, Left, Report, Timed

DASH = "–"


@dataclass(frozen=True, slots=True, kw_only=True)
class Says:
    """A paragraph."""

    text: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Verdict:
    """The sentence that says what the run came to."""

    text: str
    outcome: str
    """As the run's; `unfinished` while it has none."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Points:
    """A list of sentences."""

    items: tuple[str, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Grid:
    """A table; without a head its first column names what stands in the second."""

    head: tuple[str, ...] = ()
    rows: tuple[tuple[str, ...], ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Commands:
    """Commands to type, each with its reason."""

    items: tuple[tuple[str, str], ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Chart:
    """The picture of the steps against their forecast."""

    report: Report


Block = Says | Verdict | Points | Grid | Commands | Chart


@dataclass(frozen=True, slots=True, kw_only=True)
class Section:
    """A heading and what stands below it."""

    title: str
    blocks: tuple[Block, ...]


def title(report: Report) -> str:
    """`Rollback of production: R4 → R3`."""
    match report.purpose:
        case "rollback":
            way = f"{report.from_release} → {report.to_release}"
            return f"Rollback of {report.environment}: {way}"
        case "undo":
            return f"Undo of {report.to_release} on {report.environment}"
        case _:
            return f"Auto-deploys of {report.environment} given back"


def sections(report: Report) -> Iterator[Section]:
    """The report from its top to its end; a section with nothing to say is left out."""
    yield Section(title="In short", blocks=tuple(_short(report)))
    if report.left is not None:
        yield Section(title="What was wrong", blocks=(Points(items=tuple(_wrong(report.left))),))
    acts = tuple((instant(act.at), act.by, act.what) for act in report.acts)
    yield Section(title="Who did what", blocks=(Grid(head=("when", "who", "what"), rows=acts),))
    yield Section(title="From and to", blocks=(_components(report),))
    if report.troubles:
        yield Section(title="What failed", blocks=(_troubles(report),))
    yield Section(title="Steps against forecast", blocks=(Chart(report=report), _steps(report)))
    if report.databases:
        items = tuple(line for one in report.databases for line in _database(one))
        yield Section(title="Databases", blocks=(Points(items=items),))
    if report.checked:
        yield Section(title="What was verified", blocks=(_checked(report.checked),))
    if report.held:
        names = ", ".join(report.held)
        text = f"Auto-deploys are held on {names}: pushes do not go live by themselves."
        yield Section(title="What stays frozen", blocks=(Says(text=text),))
    if report.warned:
        items = tuple(report.warned)
        yield Section(title="What the plan had warned of", blocks=(Points(items=items),))
    todo = tuple((one.command, one.why) for one in report.next)
    yield Section(title="What to do next", blocks=(Commands(items=todo),))


def verdict(report: Report) -> str:
    """One sentence: what the run came to."""
    done = sum(step.phase == "done" for step in report.steps)
    count = f"{done} of {len(report.steps)} steps were done"
    match report.outcome:
        case "succeeded":
            said = f"Succeeded: {count}, and everything was verified."
        case "failed":
            said = f"FAILED and halted: {count}."
        case "verification-failed":
            said = f"VERIFICATION FAILED: {count}, and the platform is not as it should be."
        case "cancelled":
            said = f"Cancelled: {count}."
        case _:
            said = f"NOT FINISHED: {count} so far, and this report is not the last word."
    undone = [one for one in report.undone_by if one.outcome == "succeeded"]
    return f"{said} It was taken back by {undone[-1].run}." if undone else said


def _short(report: Report) -> Iterator[Block]:
    yield Verdict(text=verdict(report), outcome=report.outcome or "unfinished")
    yield Grid(rows=tuple(_facts(report)))


def _facts(report: Report) -> Iterator[tuple[str, str]]:
    times = report.times
    yield "run", f"{report.run}, plan {report.plan_digest[:12]}"
    yield "began", f"{instant(report.started_at)}, by {report.by} on {report.host}"
    yield "ended", instant(report.ended_at)
    yield "taly", report.version
    yield "audit trail up to", report.audit_head or DASH
    if report.why:
        yield "why this target", report.why
    if report.purpose == "rollback":
        yield "target first live", instant(report.to_since)
        yield "release live before the run", lasted(times.live_s, DASH)
        yield "noticed", "not known to taly: it lies within that time"
        yield "time to restore", lasted(times.restore_s, "nothing was restored by this run")
        yield "first live to restored", lasted(times.total_s, DASH)
    yield "forecast", clock_span(times.forecast_s)
    for one in report.undone_by:
        ended = one.outcome or "not finished"
        yield "taken back by", f"{one.run}, {instant(one.at)}, by {one.by}: {ended}"


def _wrong(left: Left) -> Iterator[str]:
    said = left.said
    since = f", live since {instant(left.since)}" if left.since else ""
    yield f"{left.release}{since}"
    if said.by_people and said.mark is not Mark.NONE:
        yield f"marked {said.mark.value} by {said.by}, {instant(said.at)}: {said.why}"
    elif said.mark is not Mark.NONE:
        yield f"marked {said.mark.value} by taly, because it was rolled back from; nobody said why"
    else:
        yield "nobody said what was wrong with it"
    if left.unwell:
        yield f"did not answer as they should when the plan was made: {', '.join(left.unwell)}"


def _components(report: Report) -> Grid:
    rows = tuple(
        (
            one.component,
            one.provider,
            one.from_label,
            one.to_label,
            one.disposition.replace("-", " "),
            one.why,
        )
        for one in report.components
    )
    return Grid(head=("component", "vendor", "from", "to", "what", "why"), rows=rows)


def _troubles(report: Report) -> Grid:
    rows = tuple(
        (one.name, one.phase, instant(one.at), one.reason, one.reference, one.hint)
        for one in report.troubles
    )
    return Grid(head=("step", "ended", "when", "reason", "reference", "what helps"), rows=rows)


def _steps(report: Report) -> Grid:
    rows = tuple(_step(step) for step in report.steps)
    return Grid(head=("step", "began after", "took", "forecast", "waited", "ended"), rows=rows)


def _step(step: Timed) -> tuple[str, ...]:
    return (
        step.name,
        DASH if step.from_s is None else clock_span(step.from_s),
        DASH if step.seconds is None else clock_span(step.seconds),
        clock_span(step.forecast_s),
        clock_span(sum(one.to_s - one.from_s for one in step.waits)) if step.waits else DASH,
        f"{step.phase}, {step.how}" if step.how else step.phase,
    )


def _database(one: Changed) -> Iterator[str]:
    counts = (
        (one.carried, "carried over"),
        (one.put_back, "put back"),
        (one.deleted, "deleted since stay deleted"),
        (one.kept_newer, "were changed since and stay so"),
        (one.rescued, "to the rescue bundle"),
    )
    said = [
        f"{count:,} {'row' if count == 1 else 'rows'} {what}" for count, what in counts if count
    ]
    listed = f" · {', '.join(said)}" if said else ""
    yield f"{one.component}: {one.what if one.done else 'NOT ' + one.what}{listed}"
    if one.pause_s is not None:
        yield f"writers waited {one.pause_s:g} s"
    if one.bundle:
        yield f"rescue bundle: {one.bundle}"
    if one.put_aside:
        how_big = f", {size(one.put_aside_bytes)}" if one.put_aside_bytes else ""
        yield f"put aside as {one.put_aside}{how_big}"
    yield from (f"not as it was: {note}" for note in one.not_set)


def _checked(checked: tuple[Checked, ...]) -> Grid:
    rows = tuple(row for one in checked for row in _evidence(one))
    return Grid(head=("check", "found", "when", "asked", "answer"), rows=rows)


def _evidence(one: Checked) -> Iterator[tuple[str, ...]]:
    state = ", ".join(f"{key} = {_plain_value(value)}" for key, value in one.state.items())
    yield one.name, one.phase, instant(one.at), "state", state or DASH
    for said in one.evidence:
        yield "", said.confidence.value, instant(said.at), said.call, said.says


def _plain_value(value: str | bool | int | None) -> str:
    return (
        "none" if value is None else str(value).lower() if isinstance(value, bool) else str(value)
    )


def instant(at: datetime | None) -> str:
    """`2026-11-23 14:05:34 UTC`: a report is read elsewhere and later."""
    return "not known" if at is None else at.astimezone(UTC).strftime("%Y-%m-%d %H:%M:%S UTC")


def lasted(seconds: float | None, otherwise: str) -> str:
    """A length of time; to the second where it is short."""
    if seconds is None:
        return otherwise
    return clock_span(seconds) if seconds < 36 * 3600 else span(seconds)


def printable(text: str) -> str:
    """`text` on one line, without anything that moves, hides or breaks what stands around it.

    Names and reasons come from vendors and from git: control characters, text that runs the other
    way, halves of characters and what XML forbids are taken out.
    """
    one_line = re.sub(r"\s+", " ", text)
    kept = (char for char in one_line if unicodedata.category(char) not in _UNWANTED)
    return "".join(kept).strip()


_UNWANTED = frozenset({"Cc", "Cf", "Cs", "Co", "Cn"})
