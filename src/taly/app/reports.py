"""Reports and figures of runs: from the store alone, so that they work while a vendor is down."""

from collections.abc import Sequence
from dataclasses import replace

from taly.app.context import Context
from taly.app.runs import ROLLED_BACK, load_run
from taly.model.run import Run, fold
from taly.planning.metrics import Metrics, measure
from taly.planning.report import Report, Said
from taly.planning.reporting import build_report

ALL = 2**31 - 1
"""More runs than any store has."""


def report_of(context: Context, run_id: str) -> Report:
    """The report of a run; UsageError `run-unknown` if there is none of that id."""
    store = context.store
    plan, events = store.plan(run_id), list(store.events(run_id))
    run = fold(run_id, plan, events)
    later = _later(context, plan.environment, run_id)
    said = _said(context, plan.environment, plan.from_release)
    report = build_report(run, events, later, said, alive=store.run(run_id).is_alive)
    head = store.chain_head(plan.environment)
    return replace(report, audit_head=head.chain if head else "")


def metrics_of(context: Context) -> Metrics:
    """Figures over every finished run of the environment."""
    environment = context.environment.name
    summaries = context.store.runs(environment, limit=ALL)
    runs = [load_run(context, one.id) for one in reversed(summaries) if one.outcome is not None]
    return measure(environment, runs)


def _later(context: Context, environment: str, run_id: str) -> Sequence[Run]:
    """The runs of the environment that began after this one, oldest first."""
    found = []
    for summary in context.store.runs(environment, limit=ALL):
        if summary.id == run_id:
            break
        found.append(load_run(context, summary.id))
    return found[::-1]


def _said(context: Context, environment: str, release: str) -> Said:
    ids = {name: id_ for id_, name in context.store.release_names(environment).items()}
    marked = context.store.marks(environment).get(ids.get(release, ""))
    if marked is None:
        return Said()
    return Said(
        mark=marked.mark,
        why=marked.why,
        by=marked.by,
        at=marked.at,
        by_people=not marked.why.startswith(ROLLED_BACK),
    )
