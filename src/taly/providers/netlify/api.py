"""The few Netlify operations that taly uses (netlify/open-api 2.55), typed, with clear errors."""

import math
import re
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from datetime import datetime
from typing import Any, TypeVar
from urllib.parse import parse_qsl, quote, urlsplit

from pydantic import BaseModel, ValidationError

from taly.errors import UsageError, VendorRefused, VendorUnavailable
from taly.model.ports import Clock
from taly.providers.http import Answer, Refusal, VendorHttp, told_whose
from taly.providers.netlify.payloads import DeployPayload, SitePayload, VariablePayload
from taly.transport import CA_FILE, check_endpoint

DEFAULT_URL = "https://api.netlify.com/api/v1"
PER_PAGE = 100
PAGES_MAX = 100
NEXT = re.compile(r'<([^>]*)>\s*;\s*rel="?next"?')

REFUSALS: Mapping[int, Refusal] = {
    401: Refusal(
        reference="netlify-token-invalid", hint="export NETLIFY_AUTH_TOKEN=<a valid token>"
    ),
    402: Refusal(reference="netlify-plan-limit", hint="netlify open:admin"),
    403: Refusal(reference="netlify-forbidden", hint="netlify status"),
    404: Refusal(reference="netlify-not-found", hint="netlify sites:list"),
    409: Refusal(reference="netlify-conflict", hint="taly status"),
    410: Refusal(reference="netlify-gone", hint="taly releases"),
    422: Refusal(reference="netlify-invalid", hint="taly status"),
    429: Refusal(reference="netlify-rate-limited", hint="taly status"),
}
UNSEEN = frozenset({"netlify-forbidden", "netlify-not-found"})
RESTORE = {
    "netlify-not-found": Refusal(reference="target-gone", hint="taly releases"),
    "netlify-gone": Refusal(reference="target-gone", hint="taly releases"),
    "netlify-invalid": Refusal(reference="netlify-restore-refused", hint="taly plan"),
}
LOCK = {
    "netlify-forbidden": Refusal(reference="netlify-lock-refused", hint="netlify open:admin"),
    "netlify-plan-limit": Refusal(reference="netlify-lock-refused", hint="netlify open:admin"),
    "netlify-not-found": Refusal(reference="netlify-overtaken", hint="taly status"),
}
CANCEL = {"netlify-invalid": Refusal(reference="netlify-cancel-refused", hint="taly status")}

Model = TypeVar("Model", bound=BaseModel)


def rate_limit_pause(headers: Mapping[str, str], now: datetime) -> float | None:
    """Netlify's convention: `X-RateLimit-Reset` is the Unix second at which calls pass again.

    https://docs.netlify.com/api/get-started/#rate-limiting
    """
    reset = headers.get("x-ratelimit-reset", "")
    if not reset.isdigit() or headers.get("x-ratelimit-remaining", "0") != "0":
        return None
    return max(0.0, math.ceil(int(reset) - now.timestamp()))


class NetlifyApi:
    """Netlify's API with one token. Safe to use from many threads."""

    def __init__(self, environ: Mapping[str, str], clock: Clock) -> None:
        """Reads NETLIFY_API_URL and NETLIFY_AUTH_TOKEN; UsageError when there is no token."""
        token = environ.get("NETLIFY_AUTH_TOKEN", "")
        if not token:
            raise UsageError(
                "netlify: NETLIFY_AUTH_TOKEN is not set",
                reference="netlify-token-missing",
                hint="export NETLIFY_AUTH_TOKEN=<a personal access token>",
            )
        base = environ.get("NETLIFY_API_URL") or DEFAULT_URL
        if not urlsplit(base).path.strip("/"):
            base = base.rstrip("/") + "/api/v1"  # as netlify-cli reads the same variable
        check_endpoint(
            "netlify",
            base,
            secret=token,
            variable="NETLIFY_AUTH_TOKEN",
            setting="NETLIFY_API_URL",
        )
        self._http = VendorHttp(
            vendor="netlify",
            base_url=base,
            token=token,
            clock=clock,
            pause=rate_limit_pause,
            refusals=REFUSALS,
            ca_file=environ.get(CA_FILE, ""),
        )

    def close(self) -> None:
        """Give the connections back."""
        self._http.close()

    def site(self, site: str) -> SitePayload:
        """getSite, by id or domain name; a refusal says whose token saw no such site."""
        try:
            body = self._http.read(f"/sites/{quote(site, safe='')}").body
        except VendorRefused as error:
            if error.reference not in UNSEEN:
                raise
            raise told_whose(error, self._owner) from error
        return _parsed(SitePayload, body)

    def _owner(self) -> str:
        """getCurrentUser: whom the token belongs to."""
        user = self._http.read("/user").body
        return str(user.get("email") or user.get("full_name") or "")

    def deploy(self, deploy: str) -> DeployPayload:
        """getDeploy."""
        return _parsed(DeployPayload, self._http.read(f"/deploys/{quote(deploy, safe='')}").body)

    def production_deploys(self, site: str) -> list[DeployPayload]:
        """listSiteDeploys, production only, every page."""
        found: dict[str, DeployPayload] = {}
        params = {"production": "true", "per_page": str(PER_PAGE), "page": "1"}
        for _ in range(PAGES_MAX):
            answer = self._http.read(f"/sites/{site}/deploys", params)
            if not isinstance(answer.body, list):
                raise _unreadable("listSiteDeploys")
            for item in answer.body:
                deploy = _parsed(DeployPayload, item)
                found[deploy.id] = deploy
            following = _next_page(answer, params)
            if following is None:
                break
            params = following
        return list(found.values())

    def variables(self, account: str, site: str) -> list[VariablePayload]:
        """getEnvVars of one site: names and when they were updated; values are dropped at once."""
        body = self._http.read(f"/accounts/{account}/env", {"site_id": site}).body
        return [_parsed(VariablePayload, item) for item in body or ()]

    def restore(self, site: str, deploy: str) -> Mapping[str, str]:
        """restoreSiteDeploy: 201 says that it was accepted, not that it is published."""
        with _named(RESTORE):
            return self._post(f"/sites/{site}/deploys/{deploy}/restore")

    def set_lock(self, deploy: str, *, locked: bool) -> Mapping[str, str]:
        """lockDeploy or unlockDeploy."""
        with _named(LOCK):
            return self._post(f"/deploys/{deploy}/{'lock' if locked else 'unlock'}")

    def cancel(self, deploy: str) -> Mapping[str, str]:
        """cancelSiteDeploy."""
        with _named(CANCEL):
            return self._post(f"/deploys/{deploy}/cancel")

    def _post(self, path: str) -> Mapping[str, str]:
        return {"status": str(self._http.write("POST", path).status), "call": f"POST {path}"}


@contextmanager
def _named(references: Mapping[str, Refusal]) -> Iterator[None]:
    """Give a refusal the name that it has for this operation."""
    try:
        yield
    except VendorRefused as error:
        if named := references.get(error.reference):
            raise VendorRefused(
                error.message, reference=named.reference, hint=named.hint
            ) from error
        raise


def _next_page(answer: Answer, params: Mapping[str, str]) -> dict[str, str] | None:
    """The parameters of the next page: by its link, or, without links, if this page was full."""
    if link := NEXT.search(answer.headers.get("link", "")):
        query = dict(parse_qsl(urlsplit(link.group(1)).query))
        return {**params, **query}
    if "link" in answer.headers or len(answer.body) < PER_PAGE:
        return None
    return {**params, "page": str(int(params["page"]) + 1)}


def _parsed(model: type[Model], body: Any) -> Model:
    try:
        return model.model_validate(body)
    except ValidationError as error:
        raise _unreadable(model.__name__) from error


def _unreadable(what: str) -> VendorUnavailable:
    return VendorUnavailable(
        f"netlify: the answer ({what}) is not what the API documents",
        reference="netlify-answer-unreadable",
        hint="taly status",
    )
