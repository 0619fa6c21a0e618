"""The emulated Vercel's HTTP: routes, scope by team, answers and refusals."""

import json
import re
from collections.abc import Callable, Mapping
from datetime import datetime
from email.utils import format_datetime
from typing import Any

from werkzeug.wrappers import Request, Response

from taly.sandbox.http import Reply, VendorApp
from taly.sandbox.vercel import shapes
from taly.sandbox.vercel.errors import ApiError
from taly.sandbox.vercel.model import DELETED_BY_RETENTION, Build, ms
from taly.sandbox.vercel.paging import page_of
from taly.sandbox.vercel.project import Project
from taly.sandbox.world import World

Answer = tuple[int, Any, bool]
"""Status, JSON body (None = empty), whether the vendor's state changed."""
Route = Callable[["Api", Request, dict[str, str], datetime], Answer]

ROUTES: list[tuple[str, re.Pattern[str], Route]] = []


def route(method: str, path: str) -> Callable[[Route], Route]:
    """Register a handler; `{name}` in the path matches one segment."""
    pattern = re.compile(re.sub(r"\{(\w+)\}", r"(?P<\1>[^/]+)", path) + r"/?$")

    def register(handler: Route) -> Route:
        ROUTES.append((method, pattern, handler))
        return handler

    return register


class Api:
    """Answers the requests about these projects. Its owner locks."""

    def __init__(self, world: World, projects: Mapping[str, Project], lock: Any) -> None:
        self._world = world
        self._projects = projects
        self._lock = lock
        self.wsgi = VendorApp(
            world=world, vendor="vercel", handler=self._handle, targeted=self._targeted
        )

    # One request -------------------------------------------------------------------------

    def _handle(self, request: Request) -> Reply:
        now = self._world.clock.now()
        with self._lock:
            for project in self._projects.values():
                project.catch_up(now)
            target, component = self._targeted(request)
            try:
                status, body, wrote = self._answer(request, now)
            except ApiError as error:
                status, wrote = error.status, False
                body = {"error": {"code": error.code, "message": error.message}}
        return Reply(
            response=_response(status, body, now),
            target=target,
            component=component,
            wrote=wrote,
            body=request.get_json(silent=True, force=True) if request.get_data() else None,
        )

    def _answer(self, request: Request, now: datetime) -> Answer:
        _authenticate(request)
        known = False
        for method, pattern, handler in ROUTES:
            match = pattern.match(request.path)
            if match is None:
                continue
            known = True
            if method == request.method:
                return handler(self, request, match.groupdict(), now)
        if known:
            raise ApiError(405, "method_not_allowed", "The method is not allowed")
        raise ApiError(404, "not_found", "The requested API endpoint was not found")

    def _targeted(self, request: Request) -> tuple[str, str]:
        target = request.full_path.rstrip("?")
        with self._lock:
            for name, project in self._projects.items():
                named = {name, project.data.id, *(build.id for build in project.data.builds)}
                said = {*request.path.split("/"), request.args.get("projectId", "")}
                if named & said:
                    return target, name
        return target, ""

    # Finding things within the request's scope ---------------------------------------------

    def scope(self, request: Request) -> str:
        """The slug of the team that the request names; empty = the personal account."""
        named = request.args.get("teamId") or request.args.get("slug")
        if not named:
            return ""
        for slug in self.teams():
            if named in (slug, shapes.team_id(slug)):
                return slug
        raise ApiError(
            403, "forbidden", f'Not authorized: Trying to access resource under scope "{named}".'
        )

    def teams(self) -> list[str]:
        """The slugs of all teams."""
        slugs = (project.data.switches.team for project in self._projects.values())
        return sorted({slug for slug in slugs if slug})

    def visible(self, request: Request) -> list[Project]:
        """The projects in the request's scope."""
        scope = self.scope(request)
        return [one for one in self._projects.values() if one.data.switches.team == scope]

    def project(self, request: Request, id_or_name: str) -> Project:
        """The project, if the request's scope holds it; 404 as the vendor says otherwise."""
        for project in self.visible(request):
            if id_or_name in (project.data.id, project.data.name):
                return project
        raise ApiError(404, "not_found", "Project not found.")

    def writable(self, request: Request, id_or_name: str) -> Project:
        """The project, if the token may change it."""
        project = self.project(request, id_or_name)
        if project.data.role != "owner":
            raise ApiError(403, "forbidden", "You don't have permission to change this project.")
        return project

    def deployment(self, request: Request, id_or_url: str) -> tuple[Project, Build]:
        """The deployment of that id, URL or alias; 404 and 410 as the vendor says."""
        for project in self.visible(request):
            build = project.data.build(id_or_url)
            if build is None:
                continue
            if build.gone:
                raise ApiError(410, DELETED_BY_RETENTION, "The deployment was deleted")
            return project, build
        raise ApiError(404, "not_found", "Deployment not found")


def _authenticate(request: Request) -> None:
    scheme, _, token = request.headers.get("Authorization", "").partition(" ")
    if scheme != "Bearer" or not token:
        raise ApiError(401, "unauthorized", "The request is missing an authentication token")
    if token.endswith("invalid"):  # the one token that never opens anything, for tests
        raise ApiError(403, "forbidden", "The request is not authorized: invalid token")


def _response(status: int, body: Any, now: datetime) -> Response:
    response = Response(status=status)
    response.headers["Date"] = format_datetime(now, usegmt=True)
    if body is None:
        response.headers.pop("Content-Type", None)
        return response
    response.set_data(json.dumps(body))
    response.content_type = "application/json; charset=utf-8"
    return response


# Deployments -------------------------------------------------------------------------------


@route("GET", "/v[67]/deployments")
def list_deployments(api: Api, request: Request, _: dict[str, str], __: datetime) -> Answer:
    """Newest first; `until` and `since` are milliseconds, `limit` is 20 unless given."""
    args = request.args
    named = args.get("projectId") or args.get("app")
    projects = [api.project(request, named)] if named else api.visible(request)
    rows = [
        shapes.listed(project.data, build)
        for project in projects
        for build in project.data.builds
        if project.data.switches.gone_listed or not build.gone
    ]
    chosen = [row for row in rows if _fits(row, args)]
    chosen.sort(key=lambda row: row["created"], reverse=True)
    limit = max(1, min(int(args.get("limit", 20)), 100))
    page = chosen[:limit]
    body = {"deployments": page, "pagination": page_of(page, more=len(chosen) > limit)}
    return 200, body, False


def _fits(row: dict[str, Any], args: Mapping[str, str]) -> bool:
    states = args.get("state")
    return all(
        (
            args.get("target") in (None, row["target"]),
            states is None or row["state"] in states.split(","),
            args.get("sha") in (None, row["meta"]["githubCommitSha"]),
            "since" not in args or row["created"] > int(args["since"]),
            "until" not in args or row["created"] < int(args["until"]),
            args.get("rollbackCandidate") != "true" or row["isRollbackCandidate"],
        )
    )


@route("GET", "/v13/deployments/{deployment}")
def get_deployment(api: Api, request: Request, parts: dict[str, str], _: datetime) -> Answer:
    """By id, URL or alias."""
    project, build = api.deployment(request, parts["deployment"])
    return 200, shapes.single(project.data, build), False


@route("PATCH", "/v12/deployments/{deployment}/cancel")
def cancel_deployment(api: Api, request: Request, parts: dict[str, str], _: datetime) -> Answer:
    """Stop a build."""
    project, build = api.deployment(request, parts["deployment"])
    api.writable(request, project.data.id).cancel(build)
    return 200, shapes.single(project.data, build), True


# Projects ----------------------------------------------------------------------------------


@route("GET", "/v(9|10)/projects")
def list_projects(api: Api, request: Request, _: dict[str, str], __: datetime) -> Answer:
    """All projects of the scope."""
    rows = [shapes.project(one.data, rollback_info=False) for one in api.visible(request)]
    return 200, {"projects": rows, "pagination": page_of(rows)}, False


@route("GET", "/v(9|10)/projects/{project}")
def get_project(api: Api, request: Request, parts: dict[str, str], _: datetime) -> Answer:
    """One project; `lastAliasRequest` only with `rollbackInfo=true`."""
    project = api.project(request, parts["project"])
    info = request.args.get("rollbackInfo") == "true"
    return 200, shapes.project(project.data, rollback_info=info), False


@route("PATCH", "/v9/projects/{project}")
def update_project(api: Api, request: Request, parts: dict[str, str], now: datetime) -> Answer:
    """Of the vendor's many settings, only `autoAssignCustomDomains`."""
    project = api.writable(request, parts["project"])
    body = request.get_json(silent=True, force=True)
    if not isinstance(body, dict) or set(body) != {"autoAssignCustomDomains"}:
        raise ApiError(400, "bad_request", "Invalid request: unknown or missing property")
    if not isinstance(body["autoAssignCustomDomains"], bool):
        raise ApiError(400, "bad_request", "`autoAssignCustomDomains` should be boolean")
    changed = project.data.auto_assign != body["autoAssignCustomDomains"]
    project.data.auto_assign = body["autoAssignCustomDomains"]
    project.data.updated_at = now
    return 200, shapes.project(project.data, rollback_info=False), changed


@route("GET", "/v9/projects/{project}/domains")
def get_domains(api: Api, request: Request, parts: dict[str, str], _: datetime) -> Answer:
    """The names in the project's settings."""
    return 200, shapes.domains(api.project(request, parts["project"]).data), False


@route("GET", "/v(8|9|10)/projects/{project}/env")
def get_env(api: Api, request: Request, parts: dict[str, str], _: datetime) -> Answer:
    """The names of the environment variables."""
    return 200, shapes.env(api.project(request, parts["project"]).data), False


# Moving production ---------------------------------------------------------------------------


@route("POST", "/v(1|9)/projects/{project}/rollback/{deployment}")
def rollback(api: Api, request: Request, parts: dict[str, str], now: datetime) -> Answer:
    """Instant rollback: 201, the aliases move later."""
    _refuse_bad_json(request)
    project = api.writable(request, parts["project"])
    project.rollback(parts["deployment"], now)
    body = {"ok": True} if project.data.switches.rollback_body else None
    return 201, body, True


@route("POST", "/v(9|10)/projects/{project}/promote/{deployment}")
def promote(api: Api, request: Request, parts: dict[str, str], now: datetime) -> Answer:
    """Promote: 201, or 202 behind an active rolling release."""
    _refuse_bad_json(request)
    project = api.writable(request, parts["project"])
    queued = project.promote(parts["deployment"], now) == "queued"
    return 202 if queued else 201, None, True


def _refuse_bad_json(request: Request) -> None:
    if request.get_data() and request.get_json(silent=True, force=True) is None:
        raise ApiError(400, "bad_request", "Invalid JSON")


@route("GET", "/v(1|9)/projects/{project}/(rollback|promote)/aliases")
def moved_aliases(api: Api, request: Request, parts: dict[str, str], _: datetime) -> Answer:
    """What became of each alias in the last job."""
    data = api.project(request, parts["project"]).data
    only_failed = request.args.get("failedOnly", "false") not in ("false", "0")
    rows = [
        {
            "id": f"alias-{number}",
            "alias": {"alias": one.domain, "deploymentId": one.deployment},
            "status": "failed" if one.domain in data.failed_aliases else "completed",
            "createdAt": ms(data.created_at),
        }
        for number, one in enumerate(data.aliases)
        if one.moves and (not only_failed or one.domain in data.failed_aliases)
    ]
    return 200, {"aliases": rows, "pagination": page_of(rows)}, False


@route("GET", "/v1/projects/{project}/rolling-release")
def rolling_release(api: Api, request: Request, parts: dict[str, str], _: datetime) -> Answer:
    """The rolling release under way, or the last one."""
    data = api.project(request, parts["project"]).data
    return 200, {"rollingRelease": shapes.rolling_release(data)}, False


# Who asks ------------------------------------------------------------------------------------


@route("GET", "/(v2|www)/user")
def user(api: Api, _: Request, __: dict[str, str], ___: datetime) -> Answer:
    """The token's owner; the vendor's CLI takes `defaultTeamId` as its scope."""
    teams = api.teams()
    body = {
        "id": shapes.USER_ID,
        "uid": shapes.USER_ID,
        "email": "sandbox@example.com",
        "name": "Sandbox",
        "username": "sandbox",
        "version": "northstar" if teams else None,
        "defaultTeamId": shapes.team_id(teams[0]) if teams else None,
    }
    return 200, {"user": body}, False


def _team(slug: str) -> dict[str, Any]:
    return {
        "id": shapes.team_id(slug),
        "slug": slug,
        "name": slug,
        "membership": {"role": "OWNER", "confirmed": True},
        "billing": {"plan": "pro"},
    }


@route("GET", "/v[12]/teams")
def list_teams(api: Api, _: Request, __: dict[str, str], ___: datetime) -> Answer:
    """The teams of the token's owner."""
    rows = [_team(slug) for slug in api.teams()]
    return 200, {"teams": rows, "pagination": page_of([])}, False


@route("GET", "/v?[12]?/?teams/{team}")
def get_team(api: Api, _: Request, parts: dict[str, str], __: datetime) -> Answer:
    """One team, by id or slug."""
    for slug in api.teams():
        if parts["team"] in (slug, shapes.team_id(slug)):
            return 200, _team(slug), False
    raise ApiError(404, "not_found", "Team not found")
