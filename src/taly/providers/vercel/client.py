"""Vercel's HTTP API (https://vercel.com/docs/rest-api), as far as a rollback needs it."""

from collections.abc import Iterator, Mapping
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from itertools import islice
from typing import Any, TypeVar

from pydantic import ValidationError

from taly.errors import UsageError, VendorRefused, VendorUnavailable
from taly.model.ports import Clock
from taly.providers.http import Answer, Refusal, VendorHttp, told_whose
from taly.providers.payload import Payload
from taly.providers.vercel.payloads import Build, EnvVar, Project, Rolling
from taly.transport import CA_FILE, check_endpoint

PAGE = 100
MAX_PAGES = 1000
"""Of one list: who gives ever more of them will not end."""
NEWEST = 1_000
API_URL = "https://api.vercel.com"

REFUSALS: Mapping[int, Refusal] = {
    400: Refusal(reference="vercel-bad-request", hint="taly plan, then open a bug report"),
    401: Refusal(reference="vercel-token-invalid", hint="export VERCEL_TOKEN=<a valid token>"),
    402: Refusal(reference="hobby-limit", hint="taly releases: the hobby plan goes back one only"),
    403: Refusal(
        reference="vercel-scope", hint="set `team` in taly.toml, or use its owner's token"
    ),
    404: Refusal(reference="vercel-not-found", hint="check `project` and `team` in taly.toml"),
    409: Refusal(reference="vercel-conflict", hint="taly status: another job runs, or it is live"),
    410: Refusal(reference="target-gone", hint="taly releases, then choose a restorable one"),
    422: Refusal(reference="vercel-invalid-target", hint="taly releases: it must have served"),
}
"""What each final answer of the vendor means; 429 and 5xx pass by themselves."""

UNSEEN = frozenset({"vercel-not-found", "vercel-scope"})

Shape = TypeVar("Shape", bound=Payload)
Scope = Mapping[str, str]
"""`{"teamId": …}`, `{"slug": …}`, or nothing for a personal account: sent with every request."""


def scope_of(team: str) -> Scope:
    """The query of this team, given as id or slug; without it the token's own default decides."""
    if not team:
        return {}
    return {"teamId": team} if team.startswith("team_") else {"slug": team}


def retry_after(headers: Mapping[str, str], now: datetime) -> float | None:
    """Vercel's rate-limit convention: `Retry-After` in seconds, or as a date."""
    said = headers.get("retry-after", "")
    if said.isdecimal():
        return float(said)
    at = http_date(said)
    return (at - now).total_seconds() if at else None


def http_date(text: str) -> datetime | None:
    """The instant of an HTTP date; None if it is none."""
    try:
        return parsedate_to_datetime(text).astimezone(UTC)
    except (TypeError, ValueError):
        return None


class VercelApi:
    """The API with the token of this process; made when first asked."""

    def __init__(self, environ: Mapping[str, str], clock: Clock) -> None:
        self._environ = environ
        self._clock = clock
        self._made: VendorHttp | None = None

    @property
    def _http(self) -> VendorHttp:
        if self._made is None:
            token = self._environ.get("VERCEL_TOKEN", "")
            if not token:
                raise UsageError(
                    "VERCEL_TOKEN is not set",
                    reference="vercel-token-missing",
                    hint="export VERCEL_TOKEN=<a token from vercel.com/account/tokens>",
                )
            base = self._environ.get("VERCEL_API_URL", API_URL)
            check_endpoint(
                "vercel", base, secret=token, variable="VERCEL_TOKEN", setting="VERCEL_API_URL"
            )
            self._made = VendorHttp(
                vendor="vercel",
                base_url=base,
                token=token,
                clock=self._clock,
                pause=retry_after,
                refusals=REFUSALS,
                ca_file=self._environ.get(CA_FILE, ""),
            )
        return self._made

    # Reads -------------------------------------------------------------------------------

    def project(self, project: str, scope: Scope) -> Project:
        """GET /v9/projects/{idOrName}?rollbackInfo=true; a refusal says whose token saw none."""
        try:
            answer = self._http.read(f"/v9/projects/{project}", {**scope, "rollbackInfo": "true"})
        except VendorRefused as error:
            if error.reference not in UNSEEN:
                raise
            raise told_whose(error, self._owner) from error
        return _parsed(Project, answer.body, "the project")

    def _owner(self) -> str:
        """GET /v2/user: whom the token belongs to."""
        user = (self._http.read("/v2/user").body or {}).get("user") or {}
        return str(user.get("email") or user.get("username") or "")

    def deployments(self, project_id: str, scope: Scope) -> list[Build]:
        """GET /v7/deployments: the production deployments, newest first, of every page to NEWEST.

        A year of retention may hold many thousands, and nobody goes back to those.
        """
        params = {**scope, "projectId": project_id, "target": "production"}
        found: dict[str, Build] = {}
        for row in islice(self._rows("/v7/deployments", params, "deployments"), NEWEST):
            build = _parsed(Build, row, "a deployment")
            found.setdefault(build.id, build)
        return list(found.values())

    def deployment(self, id_: str, scope: Scope) -> Build:
        """GET /v13/deployments/{id}; VendorRefused `target-gone` when retention removed it."""
        body = self._http.read(f"/v13/deployments/{id_}", scope).body
        return _parsed(Build, body, "the deployment")

    def domains(self, project_id: str, scope: Scope) -> frozenset[str]:
        """GET /v9/projects/{id}/domains: every page of the names that rollbacks move."""
        rows = self._rows(f"/v9/projects/{project_id}/domains", scope, "domains")
        return frozenset(str(_mapping(row, "a domain").get("name")) for row in rows)

    def rolling_release(self, project: Project, scope: Scope) -> Rolling | None:
        """GET /v1/projects/{id}/rolling-release, where the project has any."""
        if not project.rolling:
            return None
        body = self._http.read(f"/v1/projects/{project.id}/rolling-release", scope).body
        said = _mapping(body, "the rolling release").get("rollingRelease")
        return _parsed(Rolling, said, "the rolling release") if said else None

    def env(self, project_id: str, scope: Scope) -> list[EnvVar]:
        """GET /v10/projects/{id}/env: names and times of the environment variables."""
        body = _mapping(self._http.read(f"/v10/projects/{project_id}/env", scope).body, "the env")
        return [_parsed(EnvVar, row, "a variable") for row in _list(body.get("envs"), "the env")]

    def failed_aliases(self, project_id: str, scope: Scope) -> tuple[str, ...]:
        """GET /v1/projects/{id}/promote/aliases?failedOnly=true: what the last job left behind."""
        path = f"/v1/projects/{project_id}/promote/aliases"
        body = self._http.read(path, {**scope, "failedOnly": "true", "limit": str(PAGE)}).body
        rows = body.get("aliases", ()) if isinstance(body, dict) else ()
        return tuple(_alias_name(row) for row in _list(rows, "the aliases"))

    def _rows(self, path: str, params: Mapping[str, str], key: str) -> Iterator[Any]:
        """The rows under `key` of every page; the next one begins at `until`."""
        until: object = None
        for _ in range(MAX_PAGES):
            page = {**params, "limit": str(PAGE)} | ({"until": str(until)} if until else {})
            body = _mapping(self._http.read(path, page).body, f"the {key}")
            yield from _list(body.get(key), f"the {key}")
            following = _mapping(body.get("pagination") or {}, "the pages").get("next")
            if not following or following == until:
                return
            until = following
        raise _unexpected(f"the {key}, without an end,")

    # Writes: each sends one request, once --------------------------------------------------

    def rollback(self, project_id: str, deployment: str, scope: Scope) -> Answer:
        """POST /v1/projects/{id}/rollback/{deployment}: 201, and the aliases move later."""
        return self._http.write(
            "POST", f"/v1/projects/{project_id}/rollback/{deployment}", scope, {}
        )

    def promote(self, project_id: str, deployment: str, scope: Scope) -> Answer:
        """POST /v10/projects/{id}/promote/{deployment}: 201, or 202 behind a rolling release."""
        return self._http.write(
            "POST", f"/v10/projects/{project_id}/promote/{deployment}", scope, {}
        )

    def set_auto_assign(self, project_id: str, on: bool, scope: Scope) -> Answer:
        """PATCH /v9/projects/{id} `autoAssignCustomDomains` (SDK: UpdateProjectRequestBody)."""
        body = {"autoAssignCustomDomains": on}
        return self._http.write("PATCH", f"/v9/projects/{project_id}", scope, body)

    def cancel(self, deployment: str, scope: Scope) -> Answer:
        """PATCH /v12/deployments/{id}/cancel."""
        return self._http.write("PATCH", f"/v12/deployments/{deployment}/cancel", scope)


def answered_at(answer: Answer, clock: Clock) -> datetime:
    """The vendor's own time of its answer, so that our clock's error does not matter."""
    return http_date(answer.headers.get("date", "")) or clock.now()


def gone(error: VendorRefused) -> bool:
    """Whether a refused read means that retention removed the deployment."""
    return error.reference == "target-gone"


def _alias_name(row: Mapping[str, object]) -> str:
    """The SDK shows the name as text, the vendor's CLI within an object."""
    said = row.get("alias")
    return str(said.get("alias")) if isinstance(said, dict) else str(said)


def _mapping(body: object, what: str) -> dict[str, Any]:
    if isinstance(body, dict):
        return body
    raise _unexpected(what)


def _list(rows: object, what: str) -> list[Any]:
    if rows is None or isinstance(rows, list | tuple):
        return list(rows or ())
    raise _unexpected(what)


def _parsed(shape: type[Shape], body: object, what: str) -> Shape:
    try:
        return shape.model_validate(body)
    except ValidationError as error:
        raise _unexpected(what) from error


def _unexpected(what: str) -> VendorUnavailable:
    return VendorUnavailable(
        f"vercel: {what} came in a form that taly does not know",
        reference="vercel-unexpected-answer",
        hint="taly status, or open a bug report",
    )
