"""The emulated Vercel on the wire: shapes, scope, limits, refusals, jobs, pages.

The required fields are those of the vendor's own SDK (@vercel/sdk 1.28, `src/models/`), which
rejects an answer that lacks one of them.
"""

from typing import Any

import httpx2
import pytest
from vercel_world import BAD, GOOD, HTTP, NAME, OLDER, PUSHED, VercelWorld, make, vercel

__all__ = ["make", "vercel"]

REQUIRED = {
    "listed": "createdAt readyState uid name projectId url created type creator inspectorUrl",
    "single": (
        "id name url readyState status ownerId projectId plan meta routes regions version creator "
        "createdAt createdIn bootedAt buildingAt buildSkipped aliasAssigned public type env build "
        "inspectorUrl projectSettings"
    ),
    "project": (
        "id name accountId alias deploymentExpiration directoryListing nodeVersion resourceConfig "
        "defaultResourceConfig"
    ),
    "alias": "deployment domain environment target",
    "within": "id createdAt createdIn creator deploymentHostname name plan private readyState type",
    "job": "fromDeploymentId toDeploymentId jobStatus requestedAt type",
    "rolling": (
        "state substate currentDeployment canaryDeployment queuedDeploymentId advancementType "
        "stages activeStage nextStage startedAt updatedAt"
    ),
    "env": "key type securityIssues",
    "domain": "name apexName projectId verified",
}


def holds(shape: str, said: dict[str, Any]) -> bool:
    missing = set(REQUIRED[shape].split()) - set(said)
    assert not missing, f"{shape} lacks {missing}"
    return True


def refused(answer: httpx2.Response, status: int, code: str) -> bool:
    assert answer.status_code == status, answer.text
    assert answer.json()["error"]["code"] == code
    assert answer.json()["error"]["message"]
    return True


# Shapes ------------------------------------------------------------------------------------------


def test_vercel_emulator_answers_hold_what_the_sdk_requires(vercel: VercelWorld) -> None:
    project = vercel.get(f"/v9/projects/{NAME}", rollbackInfo="true").json()
    assert holds("project", project)
    assert project["lastAliasRequest"] is None
    assert holds("within", project["targets"]["production"])
    assert project["alias"]
    for alias in project["alias"]:
        assert holds("alias", alias)
        assert holds("within", alias["deployment"])
    for version in ("v6", "v7"):
        body = vercel.get(f"/{version}/deployments", projectId=project["id"]).json()
        assert [holds("listed", row) for row in body["deployments"]] == [True] * 3
    assert holds("single", vercel.get(f"/v13/deployments/{vercel.id_of(GOOD)}").json())
    assert holds("env", vercel.get(f"/v10/projects/{NAME}/env").json()["envs"][0])
    assert holds("domain", vercel.get(f"/v9/projects/{NAME}/domains").json()["domains"][0])
    assert vercel.get("/v9/projects").json()["projects"][0]["id"] == project["id"]
    assert vercel.get(f"/v1/projects/{NAME}/rolling-release").json() == {"rollingRelease": None}


def test_vercel_emulator_shows_the_job_only_when_asked(vercel: VercelWorld) -> None:
    vercel.change("rollback", commit=GOOD)
    assert "lastAliasRequest" not in vercel.get(f"/v9/projects/{NAME}").json()
    told = vercel.get(f"/v9/projects/{NAME}", rollbackInfo="true").json()
    assert holds("job", told["lastAliasRequest"])


def test_vercel_emulator_finds_deployments_by_id_url_and_alias(vercel: VercelWorld) -> None:
    by_id = vercel.get(f"/v13/deployments/{vercel.id_of(BAD)}").json()
    assert vercel.get(f"/v13/deployments/{by_id['url']}").json()["id"] == by_id["id"]
    assert vercel.get("/v13/deployments/web.example.com").json()["id"] == by_id["id"]
    assert by_id["alias"] == ["web.vercel.app", "web.example.com"]


def test_vercel_emulator_pages_newest_first(vercel: VercelWorld) -> None:
    first = vercel.get("/v7/deployments", projectId=NAME, limit="2").json()
    assert [row["meta"]["githubCommitSha"] for row in first["deployments"]] == [BAD, GOOD]
    assert first["pagination"]["count"] == 2
    until = str(first["pagination"]["next"])
    second = vercel.get("/v7/deployments", projectId=NAME, limit="2", until=until).json()
    assert [row["meta"]["githubCommitSha"] for row in second["deployments"]] == [OLDER]
    assert second["pagination"]["next"] is None


@pytest.mark.parametrize(
    ("params", "expected"),
    [
        ({"sha": GOOD}, [GOOD]),
        ({"rollbackCandidate": "true"}, [GOOD, OLDER]),
        ({"state": "ERROR,BUILDING"}, [PUSHED]),
        ({"target": "preview"}, []),
        ({"limit": "1"}, [PUSHED]),
    ],
    ids=str,
)
def test_vercel_emulator_filters_lists(
    vercel: VercelWorld, params: dict[str, str], expected: list[str]
) -> None:
    vercel.push(PUSHED)
    rows = vercel.get("/v7/deployments", projectId=NAME, **params).json()["deployments"]
    assert [row["meta"]["githubCommitSha"] for row in rows] == expected


def test_vercel_emulator_answers_as_the_vendors_cli_needs_it(vercel: VercelWorld) -> None:
    user = vercel.get("/v2/user").json()["user"]
    team = vercel.get(f"/teams/{user['defaultTeamId']}").json()
    assert team["slug"] == "taly"
    assert vercel.get("/v2/teams").json()["teams"][0]["id"] == team["id"]
    assert refused(vercel.get("/v2/teams/nobody"), 404, "not_found")


# Refusals ----------------------------------------------------------------------------------------


def test_vercel_emulator_refuses_requests_without_a_token(vercel: VercelWorld) -> None:
    url = f"{vercel.listener.url}/v9/projects/{NAME}"
    assert refused(HTTP.get(url), 401, "unauthorized")


def test_vercel_emulator_refuses_unknown_paths_and_methods(vercel: VercelWorld) -> None:
    assert refused(vercel.get("/v1/nothing"), 404, "not_found")
    assert refused(vercel.request("DELETE", f"/v9/projects/{NAME}"), 405, "method_not_allowed")
    assert refused(vercel.get("/v13/deployments/dpl_x"), 404, "not_found")


@pytest.mark.parametrize("path", ["/v1/projects/web/rollback", "/v9/projects/web/rollback"])
def test_vercel_emulator_rolls_back_by_both_paths_with_an_empty_body(
    vercel: VercelWorld, path: str
) -> None:
    answer = vercel.request("POST", f"{path}/{vercel.id_of(GOOD)}")
    assert (answer.status_code, answer.content) == (201, b"")
    assert "content-type" not in answer.headers


@pytest.mark.parametrize("status", [409, 422])
def test_vercel_emulator_refuses_a_rollback_to_what_is_live(make: Any, status: int) -> None:
    vercel: VercelWorld = make(already_current=status)
    vercel.history()
    path = f"/v1/projects/{NAME}/rollback/{vercel.id_of(BAD)}"
    assert refused(vercel.request("POST", path), status, "already_current")


def test_vercel_emulator_runs_one_job_at_a_time(vercel: VercelWorld) -> None:
    path = f"/v1/projects/{NAME}/rollback/"
    assert vercel.request("POST", path + vercel.id_of(GOOD)).status_code == 201
    assert refused(vercel.request("POST", path + vercel.id_of(OLDER)), 409, "conflict")
    promote = f"/v10/projects/{NAME}/promote/{vercel.id_of(OLDER)}"
    assert refused(vercel.request("POST", promote), 409, "conflict")


def test_vercel_emulator_refuses_failed_builds_and_strangers(make: Any) -> None:
    vercel: VercelWorld = make()
    vercel.seed(4, PUSHED, "failed")
    vercel.history()
    for verb in ("v1/projects/web/rollback", "v10/projects/web/promote"):
        failed = vercel.request("POST", f"/{verb}/{vercel.id_of(PUSHED)}")
        assert refused(failed, 422, "invalid_target")
        assert refused(vercel.request("POST", f"/{verb}/dpl_unknown"), 404, "not_found")


@pytest.mark.parametrize("body", ["{", '{"name": "x"}', '{"autoAssignCustomDomains": 1}'])
def test_vercel_emulator_refuses_settings_that_it_does_not_know(
    vercel: VercelWorld, body: str
) -> None:
    answer = HTTP.patch(
        f"{vercel.listener.url}/v9/projects/{NAME}",
        params=vercel.scope,
        content=body,
        headers={"Authorization": "Bearer x"},
    )
    assert refused(answer, 400, "bad_request")


def test_vercel_emulator_rate_limits_say_when_to_come_back(vercel: VercelWorld) -> None:
    vercel.fault("refuse", status=429)
    assert vercel.get(f"/v9/projects/{NAME}").headers["retry-after"] == "1"


# Time --------------------------------------------------------------------------------------------


def test_vercel_emulator_jobs_take_their_time(vercel: VercelWorld) -> None:
    vercel.request("POST", f"/v1/projects/{NAME}/rollback/{vercel.id_of(GOOD)}")
    seen = []
    for _ in range(4):
        project = vercel.get(f"/v9/projects/{NAME}", rollbackInfo="true").json()
        seen.append(project["lastAliasRequest"]["jobStatus"])
        vercel.clock.sleep(5)
    assert seen == ["pending", "in-progress", "in-progress", "succeeded"]


def test_vercel_emulator_date_header_is_the_virtual_clocks(vercel: VercelWorld) -> None:
    vercel.clock.sleep(86400)
    said = vercel.get("/v2/user").headers["date"]
    assert said == vercel.clock.now().strftime("%a, %d %b %Y %H:%M:%S GMT")


def test_vercel_emulator_push_builds_then_publishes(vercel: VercelWorld) -> None:
    vercel.push(PUSHED)
    vercel.clock.sleep(55)
    assert vercel.page().headers["x-taly-commit"] == BAD
    vercel.clock.sleep(10)
    assert vercel.page().headers["x-taly-commit"] == PUSHED


def test_vercel_emulator_after_a_rollback_pushes_stage_until_a_promote(
    vercel: VercelWorld,
) -> None:
    vercel.change("rollback", commit=GOOD)
    vercel.clock.sleep(20)
    assert vercel.data["auto_assign"] is False
    vercel.push(PUSHED)
    vercel.clock.sleep(70)
    assert vercel.data["builds"][-1]["substate"] == "STAGED"
    vercel.change("promote", commit=PUSHED)
    vercel.clock.sleep(20)
    assert vercel.data["auto_assign"] is True
    assert vercel.page().headers["x-taly-commit"] == PUSHED


def test_vercel_emulator_rolling_release_runs_to_its_end(vercel: VercelWorld) -> None:
    vercel.change("auto-assign", on=False)
    vercel.push(PUSHED)
    vercel.clock.sleep(70)
    vercel.change("rolling-release", commit=PUSHED)
    said = vercel.get(f"/v1/projects/{NAME}/rolling-release").json()["rollingRelease"]
    assert holds("rolling", said)
    assert said["state"] == "ACTIVE"
    queued = vercel.request("POST", f"/v10/projects/{NAME}/promote/{vercel.id_of(GOOD)}")
    assert queued.status_code == 202
    vercel.clock.sleep(601)
    assert vercel.page().headers["x-taly-commit"] == PUSHED
    vercel.clock.sleep(20)
    assert vercel.page().headers["x-taly-commit"] == GOOD


# Pages, changes ----------------------------------------------------------------------------------


def test_vercel_emulator_page_names_its_commit_and_broken_ones_fail(vercel: VercelWorld) -> None:
    page = vercel.page()
    assert (page.status_code, page.headers["x-taly-commit"]) == (500, BAD)
    good = vercel.page(vercel.get(f"/v13/deployments/{vercel.id_of(GOOD)}").json()["url"])
    assert good.status_code == 200
    assert GOOD in good.text


def test_vercel_emulator_host_picks_the_alias(vercel: VercelWorld) -> None:
    vercel.change("alias", domain="old.example.org", commit=OLDER)
    assert vercel.page("old.example.org").headers["x-taly-commit"] == OLDER
    assert vercel.page("web.example.com").headers["x-taly-commit"] == BAD


def test_vercel_emulator_paused_project_serves_nobody(vercel: VercelWorld) -> None:
    vercel.change("pause")
    assert vercel.page().status_code == 503
    vercel.change("resume")
    assert vercel.page().status_code == 500, "broken, but served"


def test_vercel_emulator_console_rollback_without_a_target_goes_back_one(
    vercel: VercelWorld,
) -> None:
    vercel.change("rollback")
    vercel.clock.sleep(20)
    assert vercel.page().headers["x-taly-commit"] == GOOD


def test_vercel_emulator_refuses_switches_that_it_does_not_know(make: Any) -> None:
    with pytest.raises(TypeError):
        make(no_such_switch=True)


def test_vercel_emulator_journal_says_what_changed(vercel: VercelWorld) -> None:
    vercel.request("POST", f"/v1/projects/{NAME}/rollback/{vercel.id_of(BAD)}")
    vercel.request("POST", f"/v1/projects/{NAME}/rollback/{vercel.id_of(GOOD)}")
    calls = vercel.world.journal.calls()
    assert [(call.status, call.wrote, call.component) for call in calls] == [
        (409, False, NAME),
        (201, True, NAME),
    ]
