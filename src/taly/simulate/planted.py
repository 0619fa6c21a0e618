"""Bugs, planted one at a time by patching taly from outside: does the simulator find them?

For tests and demonstrations only. Nothing in taly itself knows of this.
"""

from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, replace
from typing import Any
from unittest.mock import patch

from taly.engine import execution, journal, reconcile, verify
from taly.engine.reconcile import _Reconciliation
from taly.engine.store import sqlite
from taly.engine.store.database import queries
from taly.engine.store.port import RunSummary
from taly.engine.store.sql import SqlStore
from taly.errors import LeaseLost, VendorRefused, VendorUnavailable
from taly.model.events import Recorded, StepDone, StepFailed
from taly.model.plan import Step, StepKind
from taly.model.ports import Attempt, InFlight, Other
from taly.model.run import StepPhase
from taly.planning import inverse, undo
from taly.simulate.vendor import SimProvider

OF_PROVIDERS = (
    "apprunner-trusts-reply",
    "apprunner-reverted-is-done",
    "netlify-restore-trusted",
    "netlify-retries-lost",
    "vercel-job-trusted",
    "vercel-one-name",
    "serverless-listing-unread",
)
"""Bugs of single providers (real/planted.py): found only where real providers are played."""

Patches = Callable[[], list[Any]]


@dataclass(frozen=True, slots=True, kw_only=True)
class Planted:
    """One bug."""

    name: str
    what: str
    """In a few words, for the table."""
    patches: Patches
    """What makes it so, while it is entered."""


@contextmanager
def planted(name: str) -> Iterator[None]:
    """Run the block with this bug in taly; none when the name is empty."""
    with ExitStack() as stack:
        for one in _patches(name) if name else ():
            stack.enter_context(one)
        yield


def _patches(name: str) -> list[Any]:
    if name in BUGS:
        return BUGS[name].patches()
    from taly.simulate.real.planted import BUGS as THEIRS  # loads them, for who asks

    return THEIRS[name][1]()


def _on(target: Any, name: str, new: Any) -> Any:
    return patch.object(target, name, new)


# The step rule


def _no_settle_after_act() -> list[Any]:
    real = _Reconciliation._act

    def act(self: Any) -> Any:
        end = real(self)
        self._trusted_from = self._clock.monotonic()
        return end

    return [_on(_Reconciliation, "_act", act)]


def _no_settle_on_resume() -> list[Any]:
    return [_on(_Reconciliation, "_settle_earlier", lambda self: None)]


def _trust_the_receipt() -> list[Any]:
    real = _Reconciliation._act

    def run_act(self: Any) -> Any:
        return real(self) or (
            StepDone(step=self._step.id, how="acted", state=self._step.wanted)
            if self._answered
            else None
        )

    return [_on(_Reconciliation, "_act", run_act)]


def _retry_at_once() -> list[Any]:
    real = SimProvider.act

    def act(self: Any, step: Step, key: str, *say: Any) -> Any:
        try:
            return real(self, step, key, *say)
        except VendorUnavailable:
            return real(self, step, key, *say)

    return [_on(SimProvider, "act", act)]


def _in_flight_is_success() -> list[Any]:
    real = _Reconciliation._judge

    def judge(self: Any, seen: Any) -> Any:
        if isinstance(seen, InFlight) and seen.same_target:
            return StepDone(step=self._step.id, how="adopted", evidence=seen.evidence)
        return real(self, seen)

    return [_on(_Reconciliation, "_judge", judge)]


def _act_on_top() -> list[Any]:
    def may_act(self: Any, seen: Any) -> bool:
        other = isinstance(seen, InFlight) and not seen.same_target
        return (other or isinstance(seen, Other)) and not self._answered

    return [_on(_Reconciliation, "_may_act", may_act)]


def _no_intent() -> list[Any]:
    def intend(self: Any) -> None:
        self._attempt = Attempt(key=self._key, intended_at=self._clock.now())

    return [_on(_Reconciliation, "_intend", intend)]


def _refused_is_done() -> list[Any]:
    real = _Reconciliation._failed_by

    def failed_by(self: Any, error: Any) -> Any:
        if isinstance(error, VendorRefused):
            return StepDone(step=self._step.id, how="already")
        return real(self, error)

    return [_on(_Reconciliation, "_failed_by", failed_by)]


def _accepted_is_forgotten() -> list[Any]:
    return [_on(_Reconciliation, "_may_act", lambda self, seen: isinstance(seen, Other))]


def _landing_is_trusted() -> list[Any]:
    return [_on(_Reconciliation, "_landed_just_now", lambda self, seen: False)]


def _stale_intent() -> list[Any]:
    return [_on(journal.Journal, "is_fresh", lambda self, since: True)]


def _unknown_is_failed() -> list[Any]:
    def unknown(*, step: str, reason: str) -> Any:
        return StepFailed(step=step, reason=reason, reference="gave-up")

    return [_on(reconcile, "StepUnknown", unknown)]


# Lock, lease, fence, order


def _queries(**changed: Callable[[str], str]) -> list[Any]:
    """The store's statements, some of them changed."""
    real = queries()
    altered: Mapping[str, str] = {
        name: changed[name](text) if name in changed else text for name, text in real.items()
    }

    def sql(query: str) -> str:
        text = altered[query].replace("{now}", sqlite.NOW).replace("{for_update}", "")
        return text.replace("{lock_names}", "select 1")

    return [_on(sqlite, "_sql", sql)]


def _no_fence() -> list[Any]:
    real = SqlStore._write

    def write(self: Any, tx: Any, lease: Any, events: Any, after: int) -> Any:
        found = tx.rows("get_run", id=lease.run_id)[0]
        return real(self, tx, lease, events, found["last_seq"])

    def unfenced(text: str) -> str:
        return text.replace("and fence = :fence ", "").replace("and fence = :fence\n", "\n")

    return [
        *_queries(claim_seq=unfenced, renew=unfenced),
        _on(SqlStore, "_write", write),
    ]


def _lease_never_checked() -> list[Any]:
    return [_on(RunSummary, "is_alive", property(lambda self: False))]


def _two_runs() -> list[Any]:
    real = SqlStore.create_run

    def create_run(self: Any, *args: Any, **named: Any) -> Any:
        self._do(lambda tx: tx.script("drop index if exists one_unfinished_run"))
        return real(self, *args, **named)

    return [_on(SqlStore, "create_run", create_run)]


def _failed_again() -> list[Any]:
    real = execution.Execution._begin

    def begin(self: Any, tasks: Any) -> None:
        fold = self._fold
        for step in list(fold._steps.values()):
            if step.phase is StepPhase.FAILED:
                fold._steps[step.step] = replace(step, phase=StepPhase.RUNNING)
        real(self, tasks)

    return [_on(execution.Execution, "_begin", begin)]


def _goes_on_after_failure() -> list[Any]:
    real = execution.Execution._hear

    def hear(self: Any, tasks: Any, about: str, said: Any) -> None:
        if not isinstance(said, StepDone) and about in self._dependents:
            said = StepDone(step=about, how="already")
        real(self, tasks, about, said)

    return [_on(execution.Execution, "_hear", hear)]


def _told_before_durable() -> list[Any]:
    """The store's failure is swallowed: the event is told, and is not there."""
    real = SqlStore.append

    def append(self: Any, lease: Any, events: Any, *, after: int) -> Any:
        try:
            return real(self, lease, events, after=after)
        except LeaseLost:
            raise
        except Exception:
            return [
                Recorded(seq=after + i, at=at, fence=lease.fence, event=event)
                for i, (at, event) in enumerate(events, 1)
            ]

    return [_on(SqlStore, "append", append)]


# Verification, undo, secrets, exit status


def _vendor_only() -> list[Any]:
    def application(*_: Any) -> Any:
        return ""
        yield

    return [_on(verify, "_application", application)]


def _no_verification() -> list[Any]:
    def verdict(step: Step, *_: Any) -> Any:
        return StepDone(step=step.id, how="verified", state=step.wanted)
        yield

    return [_on(verify, "_verdict", verdict)]


def _undo_forgets_freeze() -> list[Any]:
    kinds = {
        kind: back for kind, back in inverse.INVERSE_KINDS.items() if kind is not StepKind.FREEZE
    }
    return [_on(inverse, "INVERSE_KINDS", kinds), _on(undo, "INVERSE_KINDS", kinds)]


def _never_freezes() -> list[Any]:
    real = SimProvider.steps

    def steps(self: Any, *args: Any) -> Any:
        return tuple(
            replace(
                one,
                before={k: v for k, v in one.before.items() if k != "auto_deploy"},
                wanted={k: v for k, v in one.wanted.items() if k != "auto_deploy"},
            )
            for one in real(self, *args)
            if one.kind is not StepKind.FREEZE
        )

    return [_on(SimProvider, "steps", steps)]


def _words_are_kept() -> list[Any]:
    return [_on(journal, "cleaned", lambda event: event)]


def _failure_exits_0() -> list[Any]:
    from taly.errors import ExitCode
    from taly.simulate import checks

    return [_on(checks, "exit_code", lambda run: ExitCode.OK)]


_ALL = (
    ("no-settle-after-act", "reads are trusted right after a write", _no_settle_after_act),
    ("no-settle-on-resume", "a successor trusts reads at once", _no_settle_on_resume),
    ("trust-receipt", "the vendor's yes counts as done, unseen", _trust_the_receipt),
    ("retry-at-once", "a write without an answer is sent again at once", _retry_at_once),
    ("in-flight-is-success", "what runs counts as done", _in_flight_is_success),
    ("act-on-top", "a write is sent while another operation runs", _act_on_top),
    ("no-intent", "the intent is not written down", _no_intent),
    ("refused-is-done", "a refused write counts as done", _refused_is_done),
    ("accepted-forgotten", "a write that was accepted is sent again", _accepted_is_forgotten),
    ("landing-trusted", "the end of an operation is its effect", _landing_is_trusted),
    ("stale-intent", "a nap before the write goes unnoticed", _stale_intent),
    ("unknown-is-failed", "what is not known is called failed", _unknown_is_failed),
    ("no-fence", "the store takes events of a lost lease", _no_fence),
    ("lease-never-checked", "a run is taken over from a live process", _lease_never_checked),
    ("two-runs", "one environment, two runs at a time", _two_runs),
    ("failed-again", "resume starts a failed step again", _failed_again),
    ("goes-on", "the next step starts after a failed one", _goes_on_after_failure),
    ("told-too-early", "an event is told before it is stored", _told_before_durable),
    ("vendor-only", "the application is not asked", _vendor_only),
    ("no-verification", "nothing is verified at all", _no_verification),
    ("undo-forgets-freeze", "an undo leaves auto-deploys held", _undo_forgets_freeze),
    ("never-freezes", "auto-deploys are not held", _never_freezes),
    ("words-kept", "vendors' words are stored as they are", _words_are_kept),
    ("failure-exits-0", "every run ends with exit status 0", _failure_exits_0),
)
BUGS: Mapping[str, Planted] = {
    name: Planted(name=name, what=what, patches=patches) for name, what, patches in _ALL
}
