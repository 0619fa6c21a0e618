"""Metrics in Prometheus' text exposition format, version 0.0.4.

https://prometheus.io/docs/instrumenting/exposition_formats/#text-based-format
"""

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass

from taly.planning.metrics import Metrics

Labels = Mapping[str, str]


@dataclass(frozen=True, slots=True, kw_only=True)
class Family:
    """A metric: its name, type and samples (suffix of the name, labels, value)."""

    name: str
    type: str
    help: str
    samples: tuple[tuple[str, Labels, float], ...]


def exposition(measured: Metrics) -> str:
    """All families, each with HELP and TYPE; what is not known has no sample."""
    return "".join(f"{line}\n" for family in _families(measured) for line in _lines(family))


def _families(measured: Metrics) -> Iterator[Family]:
    where = {"environment": measured.environment}
    yield Family(
        name="taly_runs_total",
        type="counter",
        help="Finished runs by purpose and outcome.",
        samples=tuple(
            ("", {**where, "purpose": one.purpose, "outcome": one.outcome}, one.count)
            for one in measured.by_purpose
        ),
    )
    yield Family(
        name="taly_steps_total",
        type="counter",
        help="Steps that were done in finished runs, by kind and how.",
        samples=tuple(
            ("", {**where, "kind": one.kind, "how": one.how}, one.count) for one in measured.steps
        ),
    )
    yield _restore(measured, where)
    for name, text, value in (
        ("run_success", "Finished runs that succeeded, of all.", measured.success_rate),
        ("undo", "Rollbacks that were taken back, of all.", measured.undo_rate),
        (
            "forecast_error",
            r"Median of |real - forecast| / forecast over rollbacks that succeeded.",
            measured.forecast_error,
        ),
        (
            "step_forecast_error",
            "The same over the steps that taly did itself.",
            measured.step_forecast_error,
        ),
    ):
        samples = () if value is None else (("", where, value),)
        yield Family(name=f"taly_{name}_ratio", type="gauge", help=text, samples=samples)


def _restore(measured: Metrics, where: Labels) -> Family:
    restore = measured.restore
    known = (("0.5", restore.median_s), ("0.95", restore.p95_s))
    quantiles = tuple(
        ("", {**where, "quantile": rank}, value) for rank, value in known if value is not None
    )
    return Family(
        name="taly_time_to_restore_seconds",
        type="summary",
        help="Rollbacks that succeeded: start of the run to the end of its last step.",
        samples=(*quantiles, ("_sum", where, restore.sum_s), ("_count", where, restore.count)),
    )


def _lines(family: Family) -> Iterator[str]:
    yield f"# HELP {family.name} {_escaped(family.help, quotes=False)}"
    yield f"# TYPE {family.name} {family.type}"
    for suffix, labels, value in family.samples:
        yield f"{family.name}{suffix}{{{','.join(_labels(labels.items()))}}} {value!r}"


def _labels(labels: Iterable[tuple[str, str]]) -> Iterator[str]:
    for name, value in labels:
        yield f'{name}="{_escaped(value, quotes=True)}"'


def _escaped(text: str, *, quotes: bool) -> str:
    """Backslash and line feed are escaped, in a label's value also the quote."""
    plain = text.replace("\\", "\\\\").replace("\n", "\\n")
    return plain.replace('"', '\\"') if quotes else plain
