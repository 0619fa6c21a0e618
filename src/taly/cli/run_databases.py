"""What a run did with databases: what was carried over, rescued and put aside, and what helps."""

from collections.abc import Iterator, Mapping

from rich.text import Text

from taly.cli.output import size
from taly.model.plan import Step, StepKind
from taly.model.run import Run, StepPhase

NAMED = {
    StepKind.REVERT: "reverted",
    StepKind.APPLY: "applied again",
    StepKind.RESTORE: "restored",
}


def database_lines(run: Run) -> Iterator[Text]:
    """A line or two for each step that changed a database; none for other runs."""
    rescued = False
    for step in run.plan.steps:
        state = run.steps[step.id]
        if step.kind not in NAMED or state.phase is not StepPhase.DONE:
            continue
        receipt = state.attempt.receipt if state.attempt else {}
        yield _done(step, receipt)
        if aside := receipt.get("put-aside"):
            yield _aside(run.id, aside, receipt)
        rescued = rescued or _number(receipt, "rescued") > 0
    if rescued:
        text = Text("  What had no place there is kept: ", style="quiet")
        yield text.append(f"taly rescue show {run.id}", style="command")


def _done(step: Step, receipt: Mapping[str, str]) -> Text:
    what = step.address.get("migration", "")
    name = f"{step.component}: {what} {NAMED[step.kind]}" if what else ""
    text = Text(name or f"{step.component}: {NAMED[step.kind]}", style="name")
    said = [
        _rows(receipt, "carried", "carried over"),
        _rows(receipt, "put-back", "put back"),
        _rows(receipt, "deleted", "deleted since stay deleted"),
        _rows(receipt, "kept-newer", "were changed since and stay so"),
        _rows(receipt, "rescued", "to the rescue bundle"),
    ]
    if receipt.get("pause_s"):
        said.append(f"writers waited {receipt['pause_s']} s")
    listed = ", ".join(part for part in said if part)
    return text.append(f" · {listed}" if listed else "", style="")


def _aside(run_id: str, aside: str, receipt: Mapping[str, str]) -> Text:
    how_big = size(_number(receipt, "bytes")) if receipt.get("bytes") else "as it was"
    text = Text(f"  It was put aside as {aside}, {how_big}; when you are sure: ", style="quiet")
    return text.append(f"taly forget {run_id}", style="command")


def _rows(receipt: Mapping[str, str], key: str, what: str) -> str:
    count = _number(receipt, key)
    if not count:
        return ""
    return f"{count:,} {'row' if count == 1 else 'rows'} {what}"


def _number(receipt: Mapping[str, str], key: str) -> int:
    given = receipt.get(key, "")
    return int(given) if given.isdigit() else 0
