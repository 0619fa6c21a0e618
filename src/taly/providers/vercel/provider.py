"""The Vercel provider: the port's five questions, and its one write."""

from collections.abc import Mapping
from datetime import datetime

from taly.errors import VendorRefused
from taly.model.check import Finding
from taly.model.environment import Component
from taly.model.plan import ConfigChange, ConfigChangeKind, Step, StepKind
from taly.model.ports import Attempt, Clock, Differences, Probe, Say, StepOptions, silent
from taly.model.release import Deployment, Observation, Observed
from taly.providers.http import Answer
from taly.providers.vercel import observing, probing
from taly.providers.vercel.aliases import serving
from taly.providers.vercel.checks import Checks
from taly.providers.vercel.client import VercelApi, answered_at, scope_of
from taly.providers.vercel.payloads import EnvVar
from taly.providers.vercel.steps import BUILD, ONTO, PROVIDER, steps


class VercelProvider:
    """Vercel. Component settings: `project` (id or name), `team` (id or slug, optional).

    Reads VERCEL_TOKEN and VERCEL_API_URL from its environment.
    """

    name = PROVIDER
    settle_s = 3.0

    def __init__(self, environ: Mapping[str, str], clock: Clock) -> None:
        """Prepare; nothing is sent yet."""
        self._clock = clock
        self._api = VercelApi(environ, clock)

    def observe(self, component: Component) -> Observation:
        """What is live by every production name, and the past rebuilt from what Vercel keeps."""
        return observing.observe(self._api, self._clock, component)

    def differences(self, before: Observed, target: Deployment) -> Differences:
        """Environment variables that changed between the two builds: going back undoes no setting.

        A deployment keeps the values that it was built with (vercel.com/docs/instant-rollback).
        """
        scope = scope_of(before.address.get("team", ""))
        variables = self._api.env(before.address["project"], scope)
        changes = _env_changes(variables, before.live.created_at, target.created_at)
        notes = [observing.ENV_NOTE, observing.STAGED_NOTE]
        if changes:
            names = ", ".join(change.name for change in changes)
            notes.append(f"Set in the project after that build, so not in effect in it: {names}.")
        return Differences(config=changes, notes=tuple(notes))

    def steps(self, before: Observed, target: Deployment, options: StepOptions) -> tuple[Step, ...]:
        """Stop what would publish, roll back, see that auto-assignment is off."""
        return steps(before, target)

    def check(self, step: Step) -> tuple[Finding, ...]:
        """Plan limits, scope, missing targets, other jobs: told apart by reads alone."""
        return Checks(self._api, self._clock, step).run()

    def act(self, step: Step, key: str, say: Say = silent) -> Mapping[str, str]:
        """One POST or PATCH: rollback, promote, setting or cancel, whichever the state needs."""
        scope = scope_of(step.address.get("team", ""))
        if step.kind is StepKind.CANCEL:
            return self._cancel(step)
        project_id, on = step.address["project"], bool(step.wanted["auto_assign"])
        target = str(step.wanted.get("deployment") or "")
        only_setting = not target or (not on and self._is_live(step, target))
        say("")  # the project was read in between: whose run is it now?
        if only_setting:
            answer = self._api.set_auto_assign(project_id, on, scope)
            return self._receipt("settings", answer)
        if on:
            return self._receipt("promote", self._api.promote(project_id, target, scope))
        return self._receipt("rollback", self._api.rollback(project_id, target, scope))

    def probe(self, step: Step, attempt: Attempt | None) -> Probe:
        """Every production name against the wanted deployment; a job's own word is no proof."""
        return probing.probe(self._api, self._clock, step, attempt)

    def _cancel(self, step: Step) -> Mapping[str, str]:
        scope = scope_of(step.address.get("team", ""))
        if BUILD in step.address:
            return self._receipt("cancel", self._api.cancel(step.address[BUILD], scope))
        if ONTO in step.address:
            onto = step.address[ONTO]
            answer = self._api.rollback(step.address["project"], onto, scope)
            return self._receipt("rollback", answer)
        raise VendorRefused(
            "vercel: a job that runs cannot be cancelled, only waited for",
            reference="vercel-conflict",
            hint="taly status",
        )

    def _is_live(self, step: Step, target: str) -> bool:
        """Whether only the setting is missing: a rollback to what is live would be refused."""
        scope = scope_of(step.address.get("team", ""))
        project = self._api.project(step.address["project"], scope)
        rolling = self._api.rolling_release(project, scope)
        seen = serving(project, rolling, pinned=step.address.get("pinned", ""))
        return seen.is_all(target)

    def _receipt(self, kind: str, answer: Answer) -> Mapping[str, str]:
        receipt = {
            "type": kind,
            "status": str(answer.status),
            "accepted_at": answered_at(answer, self._clock).isoformat(),
        }
        return receipt | ({"queued": "true"} if answer.status == 202 else {})


def _env_changes(
    variables: list[EnvVar], live: datetime | None, target: datetime | None
) -> tuple[ConfigChange, ...]:
    """Variables set after the target's build and before the live one's, or the reverse."""
    if live is None or target is None:
        return ()
    older, newer = sorted((live, target))
    back = target < live
    found = []
    for variable in variables:
        changed = variable.updated or variable.created
        if changed is None or not variable.is_production or not older < changed <= newer:
            continue
        is_new = variable.created is not None and variable.created > older
        kind = ConfigChangeKind.CHANGED
        if is_new:
            kind = ConfigChangeKind.REMOVED if back else ConfigChangeKind.ADDED
        found.append(ConfigChange(name=variable.key, kind=kind))
    return tuple(sorted(found, key=lambda change: change.name))
