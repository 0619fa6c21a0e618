"""The emulated Vercel behind the sandbox's port."""

import threading
from collections.abc import Callable, Mapping
from dataclasses import asdict
from datetime import datetime
from typing import Any

from taly.sandbox.emulator import Deploy, SandboxComponent
from taly.sandbox.pages import Page, SiteServer, deployment_page, nothing_page
from taly.sandbox.vercel.api import Api
from taly.sandbox.vercel.model import Alias, Build, Switches
from taly.sandbox.vercel.project import Project
from taly.sandbox.world import World

Change = Callable[[Project, Mapping[str, Any], datetime], None]


class VercelEmulator:
    """Vercel on loopback. Component settings: see `model.Switches`.

    Console changes (`kind`): rollback and promote (`deployment` or `commit`; without either, the
    one that was live before), auto-assign (`on`), alias (`domain`, optional `commit`: made by
    hand, not in the domain settings), pause and resume, rolling-release (`commit`), role (`role`:
    owner or viewer), env (`name`), redirect (`domain`). Faults of its own: `project.JOB_FAULTS`.
    """

    vendor = "vercel"

    def __init__(self, world: World) -> None:
        self._world = world
        self._lock = threading.RLock()
        self._projects: dict[str, Project] = {}
        self._sites: dict[str, SiteServer] = {}
        self._seeding = True
        self.wsgi = Api(world, self._projects, self._lock).wsgi

    def add(self, component: SandboxComponent) -> None:
        """Create a project of that name, with nothing deployed."""
        name = component.name
        with self._lock:
            switches = Switches.of(component.settings)
            self._projects[name] = Project(self._world, name, switches)
            self._sites[name] = SiteServer(lambda host: self._page(name, host))

    def deploy(self, deploy: Deploy) -> None:
        """A push to the production branch."""
        now = self._world.clock.now()
        with self._lock:
            project = self._caught_up(deploy.component)
            if self._seeding:
                project.seed(deploy, now)
            else:
                project.push(deploy, now)

    def change(self, component: str, change: Mapping[str, Any]) -> None:
        """What a person did in the console; see the class for the kinds."""
        with self._lock:
            now = self._world.clock.now()
            CHANGES[change["kind"]](self._caught_up(component), change, now)

    def state(self) -> dict[str, Any]:
        """Every project with its builds, aliases and jobs."""
        with self._lock:
            return {name: _plain(asdict(self._caught_up(name).data)) for name in self._projects}

    def settings(self, component: str) -> dict[str, str]:
        """`project`, and `team` where it belongs to one."""
        team = self._projects[component].data.switches.team
        return {"project": component} | ({"team": team} if team else {})

    def url(self, component: str) -> str:
        """The loopback address, which answers as the production alias does."""
        return self._sites[component].url

    def start(self) -> None:
        """Open the sites; the clock runs from here on."""
        with self._lock:
            self._seeding = False
        for site in self._sites.values():
            site.start()

    def stop(self) -> None:
        """Close the sites."""
        for site in self._sites.values():
            site.stop()

    def _caught_up(self, component: str) -> Project:
        project = self._projects[component]
        project.catch_up(self._world.clock.now())
        return project

    def _page(self, component: str, host: str) -> Page:
        with self._lock:
            data = self._caught_up(component).data
            named = next((one for one in data.aliases if one.domain == host), data.aliases[0])
            build = data.build(host) or data.build(named.deployment)
            if data.paused:
                return 503, "<!doctype html><title>DEPLOYMENT_PAUSED</title><h1>Paused</h1>\n"
            if build is None or build.gone:
                return nothing_page(component)
            broken = build.outcome in ("broken", "failed-late")
            return deployment_page(
                title=component, commit=build.commit, deployment=build.id, broken=broken
            )


def _plain(value: Any) -> Any:
    """A copy in which times are ISO text."""
    if isinstance(value, dict):
        return {key: _plain(inner) for key, inner in value.items()}
    if isinstance(value, list | tuple):
        return [_plain(inner) for inner in value]
    return value.isoformat() if isinstance(value, datetime) else value


def _named(project: Project, change: Mapping[str, Any]) -> Build:
    """The build that a change names by `deployment` or `commit`; else the one live before."""
    data = project.data
    if "commit" in change:
        commit = str(change["commit"])
        return next(one for one in reversed(data.builds) if one.commit.startswith(commit))
    build = data.build(str(change.get("deployment", data.previous)))
    if build is None:
        raise KeyError(f"{data.name} has no such deployment")
    return build


def _rollback(project: Project, change: Mapping[str, Any], now: datetime) -> None:
    project.rollback(_named(project, change).id, now)


def _promote(project: Project, change: Mapping[str, Any], now: datetime) -> None:
    project.promote(_named(project, change).id, now)


def _auto_assign(project: Project, change: Mapping[str, Any], now: datetime) -> None:
    project.data.auto_assign = bool(change["on"])
    project.data.updated_at = now


def _alias(project: Project, change: Mapping[str, Any], _: datetime) -> None:
    named = "commit" in change or "deployment" in change
    pointed = _named(project, change).id if named else project.data.live
    alias = Alias(domain=change["domain"], in_settings=False, deployment=pointed)
    project.data.aliases.append(alias)


def _redirect(project: Project, change: Mapping[str, Any], _: datetime) -> None:
    main = project.data.aliases[0].domain
    project.data.aliases.append(Alias(domain=change["domain"], redirect=main))


def _pause(project: Project, _: Mapping[str, Any], __: datetime) -> None:
    project.data.paused = True


def _resume(project: Project, _: Mapping[str, Any], __: datetime) -> None:
    project.data.paused = False


def _rolling_release(project: Project, change: Mapping[str, Any], now: datetime) -> None:
    project.start_rollout(_named(project, change), now)


def _role(project: Project, change: Mapping[str, Any], _: datetime) -> None:
    project.data.role = change["role"]


def _env(project: Project, change: Mapping[str, Any], now: datetime) -> None:
    project.set_env(change["name"], now)


CHANGES: Mapping[str, Change] = {
    "rollback": _rollback,
    "promote": _promote,
    "auto-assign": _auto_assign,
    "alias": _alias,
    "redirect": _redirect,
    "pause": _pause,
    "resume": _resume,
    "rolling-release": _rolling_release,
    "role": _role,
    "env": _env,
}
