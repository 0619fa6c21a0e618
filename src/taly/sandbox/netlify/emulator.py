"""The emulated Netlify as the sandbox drives it: sites, pushes, the console, the pages."""

import threading
from collections.abc import Mapping
from datetime import datetime, timedelta
from typing import Any

from werkzeug.wrappers import Request

from taly.sandbox.emulator import Deploy, SandboxComponent
from taly.sandbox.http import Reply, VendorApp
from taly.sandbox.netlify.api import Api
from taly.sandbox.netlify.records import DeployRecord, Switches
from taly.sandbox.netlify.site import SERVES_BADLY_S, Site
from taly.sandbox.pages import Page, SiteServer, deployment_page, nothing_page
from taly.sandbox.world import Fault, World


class NetlifyEmulator:
    """Netlify on loopback.

    Component settings: the fields of `records.Switches`. Deploy settings: `branch`, `context`,
    `build_s`, `env` (name → value, updated by whoever pushed). Faults of its own:
    `restore-ignored` (201 and nothing is published), `restore-lost-later` (the former deploy comes
    back `seconds` later), `lock-ignored` (200, `locked: true` in the answer, not locked),
    `unknown-state` (the next list holds a deploy in a state never seen before; settings.state),
    `race-build` (a production build publishes `seconds` after the restore; settings.commit).
    """

    vendor = "netlify"

    def __init__(self, world: World) -> None:
        """Tokens that are accepted are the ones in `world.secrets`."""
        self._world = world
        self._lock = threading.RLock()
        self.sites: dict[str, Site] = {}
        self._servers: dict[str, SiteServer] = {}
        self._seeding = True
        self._api = Api(self)
        self.wsgi = VendorApp(
            world=world, vendor=self.vendor, handler=self._handle, targeted=self._targeted
        )
        """The API, under /api/v1."""

    def add(self, component: SandboxComponent) -> None:
        """Create a site with nothing deployed."""
        switches = Switches.from_settings(component.settings)
        with self._lock:
            site = Site(component.name, switches, self.now())
            self.sites[component.name] = site
            self._servers[component.name] = SiteServer(lambda host: self._render(site))

    def deploy(self, deploy: Deploy) -> None:
        """A push arrives; settings `branch`, `context`, `build_s` and `env` are understood."""
        with self._lock:
            site, now = self._site(deploy.component), self.now()
            facts = dict(deploy.settings)
            seconds = float(facts.pop("build_s", site.switches.build_s))
            for name, value in facts.pop("env", {}).items():
                site.env[name] = (str(value), now)
            if site.stop_builds:
                return
            start = now
            if self._seeding:
                late = SERVES_BADLY_S if deploy.outcome == "failed-late" else 0.0
                start = now - timedelta(seconds=seconds + late)
            record = site.new_deploy(deploy.commit, start, title=deploy.message, **facts)
            site.build(record, deploy.outcome, seconds)
            site.advance(now)

    def change(self, component: str, change: Mapping[str, Any]) -> None:
        """A person did something in the console; `kind` is one of these.

        `lock` or `stop-auto-publishing`, `unlock`; `restore` and `delete` (with `deploy` or
        `commit`); `cancel` (the same); `stop-builds` (`value`); `env` (`set`: name → value);
        `access` of the token (`level`: full, read, none); `rate-limit` (`limit` a minute).
        """
        with self._lock:
            site, now = self._site(component), self.now()
            match change["kind"]:
                case "lock" | "stop-auto-publishing":
                    site.locked = True
                case "unlock":
                    site.locked = False
                case "restore":
                    site.publish(_named(site, change), now, by_hand=True)
                case "delete":
                    _delete(site, _named(site, change))
                case "cancel":
                    site.cancel(_named(site, change), now)
                case _:
                    self._change_setting(site, change, now)

    def state(self) -> dict[str, Any]:
        """All sites with their deploys, as JSON."""
        with self._lock:
            self.now()
            return {name: site.describe() for name, site in self.sites.items()}

    def settings(self, component: str) -> dict[str, str]:
        """`site`: the site's id."""
        return {"site": self._site(component).id}

    def url(self, component: str) -> str:
        """The site's own loopback address."""
        return self._servers[component].url

    def start(self) -> None:
        """Serve the sites; from here on builds and restores take their time."""
        self._seeding = False
        for server in self._servers.values():
            server.start()

    def stop(self) -> None:
        """End the sites' servers."""
        for server in self._servers.values():
            server.stop()

    def now(self) -> datetime:
        """The present virtual instant; everything due has happened when it is known."""
        now = self._world.clock.now()
        for site in self.sites.values():
            site.advance(now)
        return now

    def knows(self, token: str) -> bool:
        """Whether the sandbox handed that token out."""
        return token in self._world.secrets

    def fault(self, kind: str, component: str, call: str) -> Fault | None:
        """Use up an armed fault of that kind."""
        return self._world.faults.take(
            vendor=self.vendor, component=component, call=call, kinds=frozenset({kind})
        )

    def _change_setting(self, site: Site, change: Mapping[str, Any], now: datetime) -> None:
        match change["kind"]:
            case "stop-builds":
                site.stop_builds = bool(change.get("value", True))
            case "env":
                site.env |= {name: (str(value), now) for name, value in change["set"].items()}
            case "access":
                site.access = str(change["level"])
            case "rate-limit":
                self._api.rate_limit = int(change["limit"])
            case unknown:
                raise ValueError(f"netlify: unknown change {unknown!r}")

    def _render(self, site: Site) -> Page:
        with self._lock:
            self.now()
            if site.published is None:
                return nothing_page(site.name)
            record = site.deploys[site.published]
            return deployment_page(
                title=site.name, commit=record.commit, deployment=record.id, broken=record.broken
            )

    def _handle(self, request: Request) -> Reply:
        with self._lock:
            self.now()
            return self._api.answer(self._api.understand(request))

    def _targeted(self, request: Request) -> tuple[str, str]:
        with self._lock:
            call = self._api.understand(request)
            return call.target, call.site.name if call.site else ""

    def _site(self, component: str) -> Site:
        if component not in self.sites:
            raise LookupError(f"netlify: there is no site {component!r}")
        return self.sites[component]


def _named(site: Site, change: Mapping[str, Any]) -> DeployRecord:
    return site.find(str(change.get("deploy") or change["commit"]))


def _delete(site: Site, record: DeployRecord) -> None:
    if record.id == site.published:
        raise ValueError("netlify: the published deploy cannot be deleted")
    del site.deploys[record.id]
