"""The Netlify adapter: observe, plan, check, act, probe (netlify/open-api 2.55)."""

import json
import threading
from collections.abc import Mapping
from datetime import datetime

from taly.errors import UsageError, VendorError, VendorRefused
from taly.model.check import Finding
from taly.model.environment import Component
from taly.model.plan import ConfigChange, ConfigChangeKind, Step, StepKind
from taly.model.ports import (
    Attempt,
    Clock,
    Differences,
    InFlight,
    Probe,
    Say,
    StepOptions,
    silent,
)
from taly.model.release import (
    Deployment,
    Evidence,
    Observation,
    Observed,
    Operation,
    Unobserved,
)
from taly.providers.netlify import checks, judgement
from taly.providers.netlify import steps as planning
from taly.providers.netlify.api import NetlifyApi
from taly.providers.netlify.history import deployments, is_in_flight
from taly.providers.netlify.payloads import (
    FAILED,
    IN_PROGRESS,
    RESTORABLE,
    DeployPayload,
    SitePayload,
)

UNSHOWN = "unshown"
YOUNG_S = 60.0
"""Whether Netlify shows a deploy at once to who asks for it by its id, nobody says: so long after
it began, "not found" is no proof that it is gone."""


class NetlifyProvider:
    """Sites on Netlify. Settings of a component: `site`, its id or netlify.app name."""

    name = "netlify"
    settle_s = 2.0

    def __init__(self, environ: Mapping[str, str], clock: Clock) -> None:
        """`environ` holds NETLIFY_AUTH_TOKEN and perhaps NETLIFY_API_URL; nothing is sent yet."""
        self._environ = environ
        self._clock = clock
        self._lock = threading.Lock()
        self._made: NetlifyApi | None = None

    def close(self) -> None:
        """Give the connections back."""
        with self._lock:
            if self._made is not None:
                self._made.close()
                self._made = None

    def observe(self, component: Component) -> Observation:
        """What is published, what was, whether the site is locked, which builds run."""
        site = self._api.site(_setting(component))
        deploys = self._api.production_deploys(site.id)
        now = self._clock.now()
        if site.published_deploy is None:
            return Unobserved(
                component=component.name,
                reason="nothing has been published on this site yet",
                reference="netlify-nothing-published",
                hint="netlify deploy --prod",
            )
        if all(deploy.id != site.live for deploy in deploys):
            deploys.append(site.published_deploy)
        history = deployments(component.name, site, deploys, now)
        builds = [deploy for deploy in deploys if is_in_flight(deploy, now)]
        return Observed(
            component=component.name,
            live=next(one for one in history if one.id == site.live),
            history=history,
            state={"deploy": site.live, "locked": site.locked},
            address={"site": site.id, "name": site.name, "account": site.account_id or ""},
            auto_deploy=not site.locked and not site.stops_builds,
            in_flight=() if site.locked else tuple(_operation(build) for build in builds),
            url=site.ssl_url or site.url or "",
            notes=tuple(_notes(site, deploys, builds)),
        )

    def differences(self, before: Observed, target: Deployment) -> Differences:
        """Variables are part of a build: name those that were changed since the target's."""
        notes = [
            "environment variables stay those of the old build; Netlify's own settings are not"
            " rolled back, and the next build uses them as they are",
            "auto publishing is stopped after the rollback: pushes are built and not published;"
            " `taly unfreeze` gives it back, and does not publish what was built meanwhile",
        ]
        since, until = target.created_at, before.live.created_at
        try:
            variables = self._api.variables(before.address["account"], before.address["site"])
        except VendorError as error:
            notes.append(f"the variables' names could not be read ({error.reference})")
            variables = []
        changed = tuple(
            ConfigChange(name=one.key, kind=ConfigChangeKind.CHANGED)
            for one in variables
            if _between(since, one.updated_at, until)
        )
        return Differences(config=changed, notes=tuple(notes))

    def steps(self, before: Observed, target: Deployment, options: StepOptions) -> tuple[Step, ...]:
        """Cancel, unlock where it was locked, restore, lock: see `taly.providers.netlify.steps`."""
        return planning.steps(before, target)

    def check(self, step: Step) -> tuple[Finding, ...]:
        """Token, site, target, builds in flight, retention."""
        return checks.findings(self._api, step, self._clock.now())

    def act(self, step: Step, key: str, say: Say = silent) -> Mapping[str, str]:
        """Send one restore, lock, unlock or cancel; which one follows from the wanted state."""
        match step.kind:
            case StepKind.CANCEL:
                return self._cancel(step)
            case StepKind.ROLL_BACK:
                return self._restore(step)
            case StepKind.FREEZE | StepKind.THAW:
                return self._set_lock(step, say)
            case _:
                raise UsageError(f"netlify: {step.kind} writes nothing", reference="step-unknown")

    def probe(self, step: Step, attempt: Attempt | None) -> Probe:
        """The site as it is now, against `step.wanted`."""
        site = self._api.site(step.address["site"])
        state: dict[str, str | bool | int | None] = {"deploy": site.live, "locked": site.locked}
        for wanted in step.wanted:
            if wanted.startswith(planning.BUILD):
                build = wanted.removeprefix(planning.BUILD)
                state[wanted] = self._build_state(build, step)
                if state[wanted] == UNSHOWN:
                    return self._waits_for(build)
        evidence = [self._evidence("netlify:getSite", judgement.in_words(site))]
        if step.kind in (StepKind.VERIFY, StepKind.VERIFY_ALL) and site.live:
            evidence.append(self._verify_deploy(site, state))
        target = self._published_since(step, attempt, state)
        return judgement.judge(
            step, state, tuple(evidence), attempt, now=self._clock.now(), overtaken=target
        )

    def _restore(self, step: Step) -> Mapping[str, str]:
        site, wanted = step.address["site"], str(step.wanted["deploy"])
        try:
            return self._api.restore(site, wanted)
        except VendorRefused as error:
            if error.reference != "netlify-restore-refused":
                raise
            # Netlify's words for this are not documented: ask the site instead.
            now = self._api.site(site)
            if not now.locked:
                raise
            unlock = json.dumps({"deploy_id": now.live})
            raise VendorRefused(
                f"{error.message} (the site is locked: auto publishing is stopped)",
                reference="netlify-site-locked",
                hint=f"netlify api unlockDeploy --data '{unlock}'",
            ) from error

    def _set_lock(self, step: Step, say: Say) -> Mapping[str, str]:
        """Lock or unlock what is published now: a lock on any other deploy holds nothing."""
        site = self._api.site(step.address["site"])
        wanted = step.wanted.get("deploy")
        if judgement.is_about_deploy(step) and wanted != site.live:
            raise VendorRefused(
                f"netlify: deploy {site.live} has been published instead of {wanted}; locking it"
                " would pin the wrong version",
                reference="netlify-overtaken",
                hint="taly plan",
            )
        say("")  # the site was read in between: whose run is it now?
        return self._api.set_lock(site.live, locked=bool(step.wanted["locked"]))

    def _cancel(self, step: Step) -> Mapping[str, str]:
        (key,) = step.wanted
        build = key.removeprefix(planning.BUILD)
        if step.wanted[key] != planning.ENDED:
            raise VendorRefused(
                f"netlify: a cancelled build ({build}) cannot be taken up again",
                reference="netlify-cancel-final",
                hint="taly status",
            )
        try:
            return self._api.cancel(build)
        except VendorRefused:
            if self._build_state(build, step) == planning.ENDED:
                return {"call": f"POST /deploys/{build}/cancel", "status": "ended by itself"}
            raise

    def _build_state(self, build: str, step: Step) -> str:
        """in-progress, ended, UNSHOWN, or Netlify's own word where taly does not know it."""
        try:
            state = self._api.deploy(build).state
        except VendorRefused as error:
            if error.reference not in ("netlify-not-found", "netlify-gone"):
                raise
            return UNSHOWN if self._is_young(step) else planning.ENDED
        if state in IN_PROGRESS:
            return planning.IN_PROGRESS
        return planning.ENDED if state in RESTORABLE | FAILED else state

    def _is_young(self, step: Step) -> bool:
        """Whether the build that the step ends began just now."""
        begun = step.address.get(planning.BEGUN)
        if not begun:
            return False
        return (self._clock.now() - datetime.fromisoformat(begun)).total_seconds() < YOUNG_S

    def _waits_for(self, build: str) -> InFlight:
        return InFlight(
            operation=build,
            same_target=False,
            evidence=(self._evidence("netlify:getDeploy", "not found"),),
            what="Netlify does not show the build that has just begun",
        )

    def _verify_deploy(
        self, site: SitePayload, state: dict[str, str | bool | int | None]
    ) -> Evidence:
        """The published deploy asked by itself must agree with what the site says of it."""
        deploy = self._api.deploy(site.live)
        if bool(deploy.locked) != site.locked:
            state["locked"] = None
        says = f"{deploy.id} is {deploy.state}, locked {bool(deploy.locked)}"
        return self._evidence("netlify:getDeploy", says)

    def _published_since(
        self, step: Step, attempt: Attempt | None, state: dict[str, str | bool | int | None]
    ) -> bool:
        """Whether our restore was published and something else has been published over it.

        The site is read once more, into `state`: the restore may have been published between the
        first look at the site and the look at the deploy. What it shows must be the newer of the
        two, by Netlify's own times: an answer about the site can be older than the deploy's.
        """
        wanted = step.wanted.get("deploy")
        if step.kind is not StepKind.ROLL_BACK or attempt is None or state["deploy"] == wanted:
            return False
        try:
            published = self._api.deploy(str(wanted)).published_at
        except VendorRefused:
            return False
        if published is None or published < attempt.intended_at:
            return False
        site = self._api.site(step.address["site"])
        state["deploy"] = site.live
        since = site.published_deploy.published_at if site.published_deploy else None
        return site.live != wanted and (since is None or since >= published)

    @property
    def _api(self) -> NetlifyApi:
        with self._lock:
            if self._made is None:
                self._made = NetlifyApi(self._environ, self._clock)
            return self._made

    def _evidence(self, call: str, says: str) -> Evidence:
        return Evidence(call=call, at=self._clock.now(), says=says)


def _setting(component: Component) -> str:
    site = component.settings.get("site", "")
    if not site:
        raise UsageError(
            f"{component.name}: the setting `site` is missing",
            reference="netlify-site-missing",
            hint="taly init",
        )
    return site


def _operation(deploy: DeployPayload) -> Operation:
    return Operation(
        id=deploy.id,
        what=f"production build of {deploy.label}",
        started_at=deploy.created_at,
        toward=deploy.id,
        cancellable=True,
    )


def _notes(
    site: SitePayload, deploys: list[DeployPayload], builds: list[DeployPayload]
) -> list[str]:
    notes = []
    if site.locked:
        notes.append("auto publishing is stopped: pushes are built, and published only by hand")
        notes.extend(
            f"the production build of {build.label} is under way: it would publish if the site"
            " were unlocked before it ends"
            for build in builds
        )
    if site.stops_builds:
        notes.append("builds are stopped: pushes are not built at all")
    known = IN_PROGRESS | RESTORABLE | FAILED
    for deploy in deploys:
        if deploy.state not in known:
            notes.append(
                f"deploy {deploy.id} is in a state that taly does not know: {deploy.state}"
            )
    return notes


def _between(since: datetime | None, at: datetime | None, until: datetime | None) -> bool:
    return since is not None and at is not None and until is not None and since < at <= until
