"""The emulated Netlify's API: authorization, rate limit, routes, and the writes that may lie."""

import json
import math
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any, Protocol

from werkzeug.exceptions import HTTPException
from werkzeug.routing import Map, MapAdapter, Rule
from werkzeug.wrappers import Request, Response

from taly.sandbox.http import Reply
from taly.sandbox.netlify import shapes
from taly.sandbox.netlify.records import FINISHED, DeployRecord, Happening
from taly.sandbox.netlify.site import Site
from taly.sandbox.world import Fault

PREFIX = "/api/v1"
WINDOW = timedelta(minutes=1)
RACE_STARTED_S = 60.0
"""How long before the restore a racing build started."""
RACE_ENDS_S = 20.0
"""How long after the restore is published a racing build publishes."""
LOST_AFTER_S = 60.0

OPERATIONS: Mapping[str, tuple[str, str]] = {
    "get_user": ("GET", "/user"),
    "list_accounts": ("GET", "/accounts"),
    "list_env": ("GET", "/accounts/<account>/env"),
    "list_sites": ("GET", "/sites"),
    "get_site": ("GET", "/sites/<site>"),
    "list_deploys": ("GET", "/sites/<site>/deploys"),
    "get_site_deploy": ("GET", "/sites/<site>/deploys/<deploy>"),
    "restore": ("POST", "/sites/<site>/deploys/<deploy>/restore"),
    "rollback": ("PUT", "/sites/<site>/rollback"),
    "get_deploy": ("GET", "/deploys/<deploy>"),
    "lock": ("POST", "/deploys/<deploy>/lock"),
    "unlock": ("POST", "/deploys/<deploy>/unlock"),
    "cancel": ("POST", "/deploys/<deploy>/cancel"),
}


class Backend(Protocol):
    """What the API asks of the emulator that it belongs to."""

    sites: dict[str, Site]

    def now(self) -> datetime:
        """The present virtual instant."""
        ...

    def url(self, component: str) -> str:
        """Where users reach the site."""
        ...

    def knows(self, token: str) -> bool:
        """Whether that is a token which the sandbox handed out."""
        ...

    def fault(self, kind: str, component: str, call: str) -> Fault | None:
        """Use up an armed fault of that kind."""
        ...


@dataclass(frozen=True, slots=True, kw_only=True)
class Call:
    """A request whose path has been understood."""

    request: Request
    target: str
    operation: str
    site: Site | None
    deploy: str


class Answered(Exception):
    """Leaves an operation with an error answer."""

    def __init__(self, status: int, message: str) -> None:
        super().__init__(message)
        self.status, self.message = status, message


class Api:
    """Answers requests. The caller holds the emulator's lock."""

    def __init__(self, backend: Backend) -> None:
        self._backend = backend
        self._routes = Map(
            [
                Rule(PREFIX + path, methods=[method], endpoint=name)
                for name, (method, path) in OPERATIONS.items()
            ]
        )
        self.rate_limit = 500
        self._window_ends: datetime | None = None
        self._calls = 0

    def understand(self, request: Request) -> Call:
        """Which operation of which site it is; the operation is empty where there is none."""
        target = request.full_path.removesuffix("?")
        adapter: MapAdapter = self._routes.bind("localhost")
        try:
            operation, values = adapter.match(request.path, method=request.method)
        except HTTPException:
            return Call(request=request, target=target, operation="", site=None, deploy="")
        deploy = values.get("deploy", "")
        named = values.get("site") or request.args.get("site_id", "")
        site = self._site(named) if named else self._site_of(deploy)
        return Call(request=request, target=target, operation=operation, site=site, deploy=deploy)

    def answer(self, call: Call) -> Reply:
        """The answer, after authorization and the rate limit."""
        remaining, reset = self._count()
        try:
            reply = self._checked(call, remaining)
        except Answered as error:
            body = {"code": error.status, "message": error.message}
            reply = _reply(call, error.status, body)
        reply.component = call.site.name if call.site else ""
        reply.response.headers["X-RateLimit-Limit"] = str(self.rate_limit)
        reply.response.headers["X-RateLimit-Remaining"] = str(max(0, remaining))
        reply.response.headers["X-RateLimit-Reset"] = str(reset)
        return reply

    def _checked(self, call: Call, remaining: int) -> Reply:
        scheme, _, token = call.request.headers.get("Authorization", "").partition(" ")
        if scheme.lower() != "bearer" or not self._backend.knows(token):
            raise Answered(401, "Access Denied: missing or invalid token")
        if remaining < 0:
            raise Answered(429, "API rate limit exceeded")
        if not call.operation:
            text = Response("Not Found", status=404, content_type="text/plain; charset=utf-8")
            return Reply(response=text, target=call.target)
        needs_site = "<site>" in OPERATIONS[call.operation][1]
        if (needs_site or call.deploy) and call.site is None:
            raise Answered(404, "Not Found")
        if call.site is not None:
            writes = call.request.method != "GET"
            if call.site.access == "none" or (writes and call.site.access == "read"):
                raise Answered(403, "Forbidden: this token may not do that to this site")
        reply: Reply = getattr(self, f"_{call.operation}")(call)
        return reply

    def _count(self) -> tuple[int, int]:
        """Calls left in this minute (below 0: refused), and when it ends, in Unix seconds."""
        now = self._backend.now()
        if self._window_ends is None or now >= self._window_ends:
            self._window_ends, self._calls = now + WINDOW, 0
        self._calls += 1
        return self.rate_limit - self._calls, math.ceil(self._window_ends.timestamp())

    def _get_user(self, call: Call) -> Reply:
        return _reply(call, 200, shapes.user_json(len(self._backend.sites)))

    def _list_accounts(self, call: Call) -> Reply:
        plans = {site.switches.plan for site in self._backend.sites.values()}
        return _reply(call, 200, [shapes.account_json("free" if plans == {"free"} else "pro")])

    def _list_env(self, call: Call) -> Reply:
        return _reply(call, 200, shapes.env_json(call.site) if call.site else [])

    def _list_sites(self, call: Call) -> Reply:
        name = call.request.args.get("name", "")
        seen = [
            shapes.site_json(site, self._backend.url(site.name))
            for site in self._backend.sites.values()
            if name in site.name and site.access != "none"
        ]
        return _paged(call, seen)

    def _get_site(self, call: Call) -> Reply:
        site = _present(call)
        return _reply(call, 200, shapes.site_json(site, self._backend.url(site.name)))

    def _list_deploys(self, call: Call) -> Reply:
        site, args = _present(call), call.request.args
        if fault := self._backend.fault("unknown-state", site.name, call.target):
            state = str(fault.settings.get("state", "reticulating"))
            site.new_deploy("0" * 40, self._backend.now(), state=state, title="of a new kind")
        seen = [
            record
            for record in reversed(site.deploys.values())
            if (args.get("production") != "true" or record.context == "production")
            and args.get("state") in (None, site.reported_state(record))
            and args.get("branch") in (None, record.branch)
            and (args.get("latest-published") != "true" or record.id == site.published)
        ]
        seen.sort(key=lambda record: record.created_at, reverse=True)
        return _paged(call, [self._json(site, record) for record in seen])

    def _get_deploy(self, call: Call) -> Reply:
        site = _present(call)
        return _reply(call, 200, self._json(site, _deploy(call)))

    _get_site_deploy = _get_deploy

    def _restore(self, call: Call) -> Reply:
        site, record = _present(call), _deploy(call)
        self._must_be_restorable(site, record)
        if self._backend.fault("restore-ignored", site.name, call.target):
            return _reply(call, 201, self._json(site, record))
        effective = self._backend.now() + timedelta(seconds=site.switches.restore_delay_s)
        if fault := self._backend.fault("restore-lost-later", site.name, call.target):
            late = timedelta(seconds=fault.seconds or LOST_AFTER_S)
            if site.published:
                site.expect(Happening(at=effective + late, what="publish", deploy=site.published))
        if fault := self._backend.fault("race-build", site.name, call.target):
            self._race(site, fault, effective)
        wrote = site.request_publish(record, effective)
        self._backend.now()
        return _reply(call, 201, self._json(site, record), wrote=wrote)

    def _rollback(self, call: Call) -> Reply:
        """Which deploy this publishes is not specified; here the one published before."""
        site = _present(call)
        previous = site.previous()
        if previous is None:
            raise Answered(422, "There is nothing to roll back to")
        site.publish(previous, self._backend.now(), by_hand=True)
        empty = Response(status=204)
        return Reply(response=empty, target=call.target, wrote=True)

    def _lock(self, call: Call) -> Reply:
        site, record = _present(call), _deploy(call)
        if not site.switches.lock_allowed:
            raise Answered(403, "Locked deploys are not part of this plan")
        if self._backend.fault("lock-ignored", site.name, call.target):
            return _reply(call, 200, self._json(site, record) | {"locked": True})
        return self._set_lock(call, locked=True)

    def _unlock(self, call: Call) -> Reply:
        return self._set_lock(call, locked=False)

    def _cancel(self, call: Call) -> Reply:
        site, record = _present(call), _deploy(call)
        if not site.cancel(record, self._backend.now()):
            raise Answered(422, f"A deploy in state {record.state} cannot be canceled")
        return _reply(call, 201, self._json(site, record), wrote=True)

    def _set_lock(self, call: Call, *, locked: bool) -> Reply:
        site, record = _present(call), _deploy(call)
        # A lock on a deploy that is not published holds nothing: the next publish goes through.
        changes = record.id == site.published and site.locked != locked
        if changes:
            site.locked = locked
        return _reply(call, 200, self._json(site, record), wrote=changes)

    def _must_be_restorable(self, site: Site, record: DeployRecord) -> None:
        if record.state not in FINISHED:
            raise Answered(422, f"A deploy in state {record.state} cannot be published")
        if site.locked and site.switches.restore_when_locked == "refused":
            raise Answered(422, "Auto publishing is stopped: unlock the published deploy first")

    def _race(self, site: Site, fault: Fault, effective: datetime) -> None:
        live = site.deploys[site.published] if site.published else None
        commit = str(fault.settings.get("commit", live.commit if live else "0" * 40))
        started = self._backend.now() - timedelta(seconds=RACE_STARTED_S)
        broken = bool(fault.settings.get("broken", True))
        racer = site.new_deploy(commit, started, state="building", broken=broken)
        ends = effective + timedelta(seconds=fault.seconds or RACE_ENDS_S)
        site.expect(Happening(at=ends, what="ready", deploy=racer.id))

    def _json(self, site: Site, record: DeployRecord) -> dict[str, Any]:
        return shapes.deploy_json(site, record, self._backend.url(site.name))

    def _site(self, named: str) -> Site | None:
        """Netlify takes a site's id or its domain name."""
        name = named.removesuffix(".netlify.app")
        for site in self._backend.sites.values():
            if named == site.id or name == site.name:
                return site
        return None

    def _site_of(self, deploy: str) -> Site | None:
        sites = self._backend.sites.values()
        return next((site for site in sites if deploy in site.deploys), None)


def _present(call: Call) -> Site:
    if call.site is None:
        raise Answered(404, "Not Found")
    return call.site


def _deploy(call: Call) -> DeployRecord:
    record = _present(call).deploys.get(call.deploy)
    if record is None:
        raise Answered(404, "Not Found")
    return record


def _reply(call: Call, status: int, body: Any, *, wrote: bool = False) -> Reply:
    response = Response(json.dumps(body), status=status, mimetype="application/json")
    return Reply(response=response, target=call.target, wrote=wrote)


def _paged(call: Call, everything: list[dict[str, Any]]) -> Reply:
    """One page, and RFC 8288 links to the next and the last, as Netlify sends them."""
    args = call.request.args
    page = max(1, args.get("page", 1, type=int))
    size = min(100, max(1, args.get("per_page", 100, type=int)))
    reply = _reply(call, 200, everything[(page - 1) * size : page * size])
    last = max(1, math.ceil(len(everything) / size))
    links = {"next": page + 1, "last": last} if page < last else {}
    if page > 1:
        links["prev"] = page - 1
    kept = {key: value for key, value in args.items() if key not in ("page", "per_page")}
    query = "".join(f"&{key}={value}" for key, value in kept.items())
    if links:
        reply.response.headers["Link"] = ", ".join(
            f'<{call.request.base_url}?page={number}&per_page={size}{query}>; rel="{rel}"'
            for rel, number in links.items()
        )
    return reply
