"""Vercel's answers as they may come: in pages, with nulls, with words that nobody documented."""

import json
from collections.abc import Iterator
from typing import Any

import pytest
from werkzeug.wrappers import Request, Response

from taly.clock import SystemClock
from taly.providers.vercel.client import VercelApi
from taly.sandbox.http import Listener


class Vendor:
    """Answers GETs by path; a list is served as pages of two."""

    def __init__(self) -> None:
        self.said: dict[str, Any] = {}
        self.pages = 0

    def __call__(self, environ, start_response):
        request = Request(environ)
        found = self.said[request.path]
        if isinstance(found, list):
            found = self._page(found, int(request.args.get("until", len(found))))
        return Response(json.dumps(found), mimetype="application/json")(environ, start_response)

    def _page(self, rows: list[Any], until: int) -> dict[str, Any]:
        page = rows[max(0, until - 2) : until]
        following = until - 2 if until > 2 else None
        self.pages += 1
        key = "deployments" if rows and "uid" in rows[0] else "domains"
        return {key: page, "pagination": {"count": len(page), "next": following}}


@pytest.fixture
def vendor() -> Vendor:
    return Vendor()


@pytest.fixture
def api(vendor: Vendor) -> Iterator[VercelApi]:
    listener = Listener(vendor).start()
    yield VercelApi(
        {"VERCEL_TOKEN": "SANDBOXSECRETt", "VERCEL_API_URL": listener.url}, SystemClock()
    )
    listener.stop()


def test_every_page_of_the_domains_is_read(vendor: Vendor, api: VercelApi) -> None:
    """Otherwise a name of a later page counts as pinned by hand, and nobody checks it."""
    names = [f"{number}.example.com" for number in range(5)]
    vendor.said["/v9/projects/prj/domains"] = [{"name": name} for name in names]
    assert api.domains("prj", {}) == frozenset(names)


def test_nulls_and_odd_values_are_let_pass(vendor: Vendor, api: VercelApi) -> None:
    build = {"id": "dpl_1", "url": None, "meta": {"githubCommitSha": "abc1234", "pr": 7, "x": None}}
    vendor.said["/v9/projects/web"] = {
        "id": "prj",
        "name": "web",
        "alias": None,
        "targets": {"production": build | {"readySubstate": None, "softDeletedByRetention": None}},
        "autoAssignCustomDomains": None,
        "paused": None,
        "permissions": None,
    }
    project = api.project("web", {})
    assert project.production is not None
    assert project.production.commit == "abc1234"
    assert project.auto_assign is True
    vendor.said["/v9/projects/none"] = {"id": "prj", "name": "none", "targets": None}
    assert api.project("none", {}).production is None


def test_a_year_of_deployments_is_not_read_to_its_end(
    vendor: Vendor, api: VercelApi, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("taly.providers.vercel.client.NEWEST", 6)
    vendor.said["/v7/deployments"] = [{"uid": f"dpl_{number}"} for number in range(40)]
    assert len(api.deployments("prj", {})) == 6
    assert vendor.pages == 3
