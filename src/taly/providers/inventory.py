"""What each vendor has under the present credentials; `taly init` matches it with a checkout."""

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from taly.aws import AwsClients, aws_errors
from taly.providers.http import VendorHttp
from taly.transport import CA_FILE, check_endpoint

MAX_PAGES = 50


@dataclass(frozen=True, slots=True, kw_only=True)
class Listed:
    """A thing at a vendor that could be a component."""

    provider: str
    name: str
    settings: Mapping[str, str]
    """As taly.toml needs them."""
    url: str = ""
    """Where users reach it, where the vendor says so."""
    ids: tuple[str, ...] = ()
    """Everything that a checkout may call it by: ids, names, slugs."""


class NoCredentials(Exception):
    """The environment holds no credentials for this vendor."""


def apprunner(environ: Mapping[str, str]) -> Iterator[Listed]:
    """App Runner services of the region (API: ListServices)."""
    region = _region(environ)
    client = _aws(environ).client("apprunner", region)
    token: dict[str, str] = {}
    for _ in range(MAX_PAGES):
        with aws_errors("apprunner:ListServices"):
            page = client.list_services(**token)
        for service in page["ServiceSummaryList"]:
            url = service.get("ServiceUrl", "")
            yield Listed(
                provider="apprunner",
                name=service["ServiceName"],
                settings={"service": service["ServiceName"], "region": region},
                url=_absolute(url),
                ids=(service["ServiceName"], service["ServiceArn"]),
            )
        if not page.get("NextToken"):
            return
        token = {"NextToken": page["NextToken"]}


def serverless(environ: Mapping[str, str]) -> Iterator[Listed]:
    """CloudFormation stacks of the region (API: DescribeStacks)."""
    region = _region(environ)
    client = _aws(environ).client("cloudformation", region)
    with aws_errors("cloudformation:DescribeStacks"):
        pages = list(client.get_paginator("describe_stacks").paginate())
    for page in pages:
        for stack in page["Stacks"]:
            name = stack["StackName"]
            yield Listed(provider="serverless", name=name, settings={"region": region}, ids=(name,))


def netlify(environ: Mapping[str, str]) -> Iterator[Listed]:
    """Sites (API: GET /sites)."""
    http = _http(environ, "netlify", "https://api.netlify.com/api/v1", "NETLIFY_AUTH_TOKEN")
    for page in range(1, MAX_PAGES):
        sites = http.read("/sites", {"page": str(page), "per_page": "100"}).body or []
        for site in sites:
            yield Listed(
                provider="netlify",
                name=site.get("name", site["id"]),
                settings={"site": site["id"]},
                url=site.get("ssl_url") or site.get("url") or "",
                ids=(site["id"], site.get("name", "")),
            )
        if len(sites) < 100:
            return


def vercel(environ: Mapping[str, str]) -> Iterator[Listed]:
    """Projects of the user and of every team that the token reaches (API: GET /v9/projects)."""
    http = _http(environ, "vercel", "https://api.vercel.com", "VERCEL_TOKEN")
    teams = [team["id"] for team in (http.read("/v2/teams").body or {}).get("teams", [])]
    for team in ["", *teams]:
        yield from _vercel_projects(http, team)


def _vercel_projects(http: VendorHttp, team: str) -> Iterator[Listed]:
    params = {"limit": "100"} | ({"teamId": team} if team else {})
    for _ in range(MAX_PAGES):
        body: dict[str, Any] = http.read("/v9/projects", params).body or {}
        for project in body.get("projects", []):
            settings = {"project": project["id"]} | ({"team": team} if team else {})
            yield Listed(
                provider="vercel",
                name=project["name"],
                settings=settings,
                url=_vercel_url(project),
                ids=(project["id"], project["name"]),
            )
        following = (body.get("pagination") or {}).get("next")
        if not following:
            return
        params["until"] = str(following)


def _vercel_url(project: Mapping[str, Any]) -> str:
    for alias in project.get("alias") or []:
        if alias.get("target") == "PRODUCTION" and not alias.get("redirect"):
            return _absolute(str(alias.get("domain", "")))
    return ""


INVENTORIES: Mapping[str, Callable[[Mapping[str, str]], Iterator[Listed]]] = {
    "apprunner": apprunner,
    "netlify": netlify,
    "vercel": vercel,
    "serverless": serverless,
}


def _region(environ: Mapping[str, str]) -> str:
    region = environ.get("AWS_REGION") or environ.get("AWS_DEFAULT_REGION") or ""
    if not region:
        raise NoCredentials("AWS_REGION is not set")
    return region


def _aws(environ: Mapping[str, str]) -> AwsClients:
    return AwsClients(environ)


def _http(environ: Mapping[str, str], vendor: str, base_url: str, variable: str) -> VendorHttp:
    token = environ.get(variable, "")
    if not token:
        raise NoCredentials(f"{variable} is not set")
    setting = f"{vendor.upper()}_API_URL"
    url = environ.get(setting) or base_url
    check_endpoint(vendor, url, secret=token, variable=variable, setting=setting)
    return VendorHttp(vendor=vendor, base_url=url, token=token, ca_file=environ.get(CA_FILE, ""))


def _absolute(host: str) -> str:
    if not host or host.startswith("http"):
        return host
    return f"http://{host}" if host.startswith("127.0.0.1") else f"https://{host}"
