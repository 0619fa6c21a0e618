"""Bugs of single providers, planted from outside: for `taly-simulate --vendors real --plant`."""

from collections.abc import Callable, Mapping
from dataclasses import replace
from typing import Any
from unittest.mock import patch

from taly.errors import VendorUnavailable
from taly.model.ports import InFlight, Wanted
from taly.providers.apprunner import judging
from taly.providers.apprunner import provider as apprunner
from taly.providers.netlify import provider as netlify
from taly.providers.serverless import changeset
from taly.providers.vercel import aliases, probing


def _on(target: Any, name: str, new: Any) -> Any:
    return patch.object(target, name, new)


def _probed(provider: Any, change: Callable[[Any, Any, Any], Any]) -> list[Any]:
    real = provider.probe
    return [_on(provider, "probe", lambda self, s, a: change(real(self, s, a), s, a))]


def _apprunner_trusts_the_reply() -> list[Any]:
    def change(seen: Any, step: Any, attempt: Any) -> Any:
        if attempt is not None and attempt.receipt and isinstance(seen, InFlight):
            return Wanted(state=step.wanted, evidence=seen.evidence)
        return seen

    return _probed(apprunner.AppRunnerProvider, change)


def _apprunner_reverted_is_done() -> list[Any]:
    real = judging.own_operation

    def own(look: Any, attempt: Any) -> Any:
        found = real(look, attempt)
        if found is not None and found.status == "ROLLBACK_SUCCEEDED":
            return replace(found, status="SUCCEEDED")
        return found

    def change(seen: Any, step: Any, attempt: Any) -> Any:
        over = attempt is not None and attempt.receipt and not isinstance(seen, InFlight)
        return Wanted(state=step.wanted, evidence=seen.evidence) if over else seen

    return [_on(judging, "own_operation", own), *_probed(apprunner.AppRunnerProvider, change)]


def _twice(provider: Any) -> list[Any]:
    real = provider.act

    def act(self: Any, step: Any, key: str, *say: Any) -> Any:
        try:
            return real(self, step, key, *say)
        except VendorUnavailable:
            return real(self, step, key, *say)

    return [_on(provider, "act", act)]


def _netlify_restore_trusted() -> list[Any]:
    def change(seen: Any, step: Any, attempt: Any) -> Any:
        moves = "deploy" in step.wanted and "locked" not in step.wanted
        if moves and attempt is not None and attempt.receipt:
            return Wanted(state=step.wanted, evidence=seen.evidence)
        return seen

    return _probed(netlify.NetlifyProvider, change)


def _vercel_job_trusted() -> list[Any]:
    real = probing._as_wanted

    def as_wanted(sight: Any) -> bool:
        job = sight.project.job
        ended = job is not None and job.status == "succeeded" and job.to_id == sight.wanted
        return real(sight) or bool(sight.wanted and ended)

    return [_on(probing, "_as_wanted", as_wanted)]


def _vercel_one_name() -> list[Any]:
    def is_all(self: Any, wanted: str) -> bool:
        return bool(next(iter(self.shown.values()), self.named) == wanted)

    return [_on(aliases.Serving, "is_all", is_all)]


BUGS: Mapping[str, tuple[str, Callable[[], list[Any]]]] = {
    "apprunner-trusts-reply": (
        "an update that runs counts as done", _apprunner_trusts_the_reply),
    "apprunner-reverted-is-done": (
        "ROLLBACK_SUCCEEDED is read as success", _apprunner_reverted_is_done),
    "netlify-restore-trusted": (
        "a restore's 201 counts as published", _netlify_restore_trusted),
    "netlify-retries-lost": (
        "a POST without an answer is sent again at once",
        lambda: _twice(netlify.NetlifyProvider)),
    "vercel-job-trusted": (
        "`jobStatus` counts as proof", _vercel_job_trusted),
    "vercel-one-name": (
        "only the first production name is looked at", _vercel_one_name),
    "serverless-listing-unread": (
        "a change set is executed whatever it deletes",
        lambda: [_on(changeset.ChangeSets, "_demand_consent", lambda *_: None)]),
}  # fmt: skip
"""Name → what it does, and what makes it so."""
