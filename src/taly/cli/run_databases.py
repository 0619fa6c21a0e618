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


ROWS = {
    "carried": "carried over",
    "put-back": "put back",
    "deleted": "deleted since stay deleted",
    "kept-newer": "changed since stay so",
    "rescued": "to the rescue bundle",
}
"""What a receipt counts → how it is said; what was rescued last, for a command follows it."""


def database_lines(run: Run) -> Iterator[Text]:
    """What each step that changed a database did, a fact a line; none for other runs."""
    for step in run.plan.steps:
        state = run.steps[step.id]
        if step.kind not in NAMED or state.phase is not StepPhase.DONE:
            continue
        receipt = state.attempt.receipt if state.attempt else {}
        yield _done(step)
        yield from _rows(receipt)
        if _number(receipt, "rescued"):
            yield _then("look at them", f"taly rescue show {run.id}")
        if receipt.get("pause_s"):
            yield Text(f"  · writers waited {receipt['pause_s']} s")
        if aside := receipt.get("put-aside"):
            how_big = f", {size(_number(receipt, 'bytes'))}" if receipt.get("bytes") else ""
            yield Text(f"  · the database that was live is put aside: {aside}{how_big}")
            yield _then("when you are sure", f"taly forget {run.id}")


def _done(step: Step) -> Text:
    what = f"{step.address.get('migration', '')} {NAMED[step.kind]}".strip()
    return Text(f"{step.component}: {what}", style="name")


def _then(when: str, command: str) -> Text:
    return Text(f"    {when}: ", style="quiet").append(command, style="command")


def _rows(receipt: Mapping[str, str]) -> Iterator[Text]:
    for key, what in ROWS.items():
        if count := _number(receipt, key):
            yield Text(f"  · {count:,} {'row' if count == 1 else 'rows'} {what}")


def _number(receipt: Mapping[str, str], key: str) -> int:
    given = receipt.get(key, "")
    return int(given) if given.isdigit() else 0
