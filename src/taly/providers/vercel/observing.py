"""One look at a project: what is live, what was, what is under way."""

from collections.abc import Iterator

from taly.errors import UsageError, VendorRefused
from taly.model.environment import Component
from taly.model.ports import Clock
from taly.model.release import Deployment, Observation, Observed, Operation, Unobserved
from taly.providers.vercel.aliases import Serving, serving, uncovered
from taly.providers.vercel.client import Scope, VercelApi, gone, scope_of
from taly.providers.vercel.history import Past, deployments
from taly.providers.vercel.payloads import Build, Project, Rolling
from taly.providers.vercel.steps import JOB, ROLLOUT

ENV_NOTE = "Environment variables and cron jobs come back as they were when it was built."
STAGED_NOTE = "After a rollback, pushes stay staged until a deployment is promoted."


def observe(api: VercelApi, clock: Clock, component: Component) -> Observation:
    """What is seen of the component; read only."""
    team = component.settings.get("team", "")
    scope = scope_of(team)
    project = api.project(_setting(component, "project"), scope)
    rolling = api.rolling_release(project, scope)
    following, pinned = uncovered(project, api.domains(project.id, scope))
    seen = serving(project, rolling, pinned=",".join(pinned))
    if not seen.live:
        return Unobserved(
            component=component.name,
            reason=f"nothing is deployed to production of {project.name}",
            reference="vercel-nothing-live",
            hint="deploy it once, then taly status",
        )
    builds = _with_live(api, api.deployments(project.id, scope), seen.live, scope)
    past = Past(
        component=component.name,
        project=project,
        serving=seen,
        builds=tuple(builds),
        at=clock.now(),
    )
    history = deployments(past)
    return Observed(
        component=component.name,
        live=_find(history, seen.live),
        history=history,
        state={"deployment": seen.live, "auto_assign": project.auto_assign},
        address={
            "project": project.id,
            "name": project.name,
            "team": team,
            "uncovered": ",".join(following),
            "pinned": ",".join(pinned),
        },
        auto_deploy=project.auto_assign,
        in_flight=tuple(_in_flight(past, rolling)),
        blocked="the project is paused" if project.paused else "",
        url=_url(project, seen),
        notes=tuple(_notes(project, seen, following)),
    )


def _setting(component: Component, name: str) -> str:
    value = component.settings.get(name, "")
    if not value:
        raise UsageError(
            f"component {component.name}: the setting {name!r} is missing",
            reference="setting-missing",
            hint=f"set {name} under component {component.name} in taly.toml",
        )
    return value


def _with_live(api: VercelApi, builds: list[Build], live: str, scope: Scope) -> list[Build]:
    """The list, and what is live even where the list does not hold it."""
    if any(build.id == live for build in builds):
        return builds
    try:
        return [api.deployment(live, scope), *builds]
    except VendorRefused as error:
        if not gone(error):
            raise
        return [Build.model_validate({"id": live, "readyState": "DELETED"}), *builds]


def _find(history: tuple[Deployment, ...], id_: str) -> Deployment:
    return next(one for one in history if one.id == id_)


def _in_flight(past: Past, rolling: Rolling | None) -> Iterator[Operation]:
    for build in past.builds:
        # With auto-assignment off a build only stages: nothing live comes of it.
        if build.is_building and past.project.auto_assign:
            yield Operation(
                id=build.id,
                what=f"production build of {build.label}",
                started_at=build.created or past.at,
                toward=build.id,
                cancellable=True,
            )
    job = past.project.job
    if job is not None and job.is_running:
        labels = {build.id: build.label for build in past.builds}
        yield Operation(
            id=f"{JOB}:{job.name}",
            what=f"{job.type} to {labels.get(job.to_id, job.to_id)}",
            started_at=job.requested or past.at,
            toward=job.to_id,
        )
    if rolling is not None and rolling.is_active:
        yield Operation(
            id=f"{ROLLOUT}:{rolling.canary_id}",
            what=f"rolling release to {rolling.canary.label if rolling.canary else '?'}",
            started_at=rolling.started or past.at,
            toward=rolling.canary_id,
        )


def _url(project: Project, seen: Serving) -> str:
    """Its own domain rather than the vendor's."""
    names = [alias.domain for alias in project.aliases if alias.domain in seen.shown]
    own = [name for name in names if not name.endswith(".vercel.app")]
    return f"https://{(own or names)[0]}" if names else ""


def _notes(project: Project, seen: Serving, following: tuple[str, ...]) -> Iterator[str]:
    yield ENV_NOTE
    yield STAGED_NOTE
    if not project.auto_assign:
        yield "Auto-assignment of production domains is off: pushes stay staged until a promote."
    if following:
        yield f"Made by hand, so a rollback does not move it: {', '.join(following)}."
    empty = [one.domain for one in project.aliases if one.is_production and not one.points_to]
    if empty:
        yield f"Shows no deployment at all, so it is not looked at: {', '.join(empty)}."
    strays = seen.strays(seen.live)
    if strays:
        yield f"The production names disagree: {', '.join(strays)} show another deployment."
