"""The emulated Netlify answers as netlify/open-api 2.55 and the vendor's pages say."""

import json
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import httpx2
import jsonschema
import pytest
from netlify_stage import BAD, R1, R2, R3, R4, SITE, MakeStage, Stage, make_stage, stage

from taly.sandbox.emulator import SandboxComponent

__all__ = ["make_stage", "stage"]
MODEL = json.loads((Path(__file__).parent / "netlify_open_api.json").read_text())
"""The vendor's own definitions; see `source` and `licence` in the file."""


def valid(value: Any, definition: str) -> None:
    """Against the vendor's model, with no field that the model does not have."""
    schema = MODEL["definitions"][definition] | {
        "additionalProperties": False,
        "definitions": MODEL["definitions"],
    }
    jsonschema.Draft4Validator(schema).validate(without_nulls(value))


def without_nulls(value: Any) -> Any:
    """Swagger 2 has no null, and the service sends it for what is not set."""
    if isinstance(value, dict):
        return {key: without_nulls(inner) for key, inner in value.items() if inner is not None}
    return value


def test_netlify_replies_fit_the_vendors_model(stage: Stage) -> None:
    site, r3, r4 = stage.site_id(), stage.deploy_id(R3), stage.deploy_id(R4)
    stage.emulator.change(SITE, {"kind": "env", "set": {"API_URL": "https://a.example"}})
    account = stage.get(f"/sites/{site}").json()["account_id"]
    valid(stage.get(f"/sites/{site}").json(), "site")
    valid(stage.get("/user").json(), "user")
    for one in stage.get("/sites").json():
        valid(one, "site")
    for one in stage.get("/accounts").json():
        valid(one, "accountMembership")
    for one in stage.get(f"/accounts/{account}/env", site_id=site).json():
        valid(one, "envVar")
    for one in stage.get(f"/sites/{site}/deploys").json():
        valid(one, "deploy")
    for reply, status in (
        (stage.get(f"/deploys/{r3}"), 200),
        (stage.get(f"/sites/{site}/deploys/{r3}"), 200),
        (stage.post(f"/sites/{site}/deploys/{r3}/restore"), 201),
        (stage.post(f"/deploys/{r4}/lock"), 200),
        (stage.post(f"/deploys/{r4}/unlock"), 200),
    ):
        assert reply.status_code == status
        valid(reply.json(), "deploy")


def test_netlify_rollback_without_a_target_answers_204_and_nothing_else(stage: Stage) -> None:
    reply = stage.http.put(f"/sites/{stage.site_id()}/rollback")
    assert (reply.status_code, reply.content) == (204, b"")
    assert stage.published() == stage.deploy_id(R3)


@pytest.mark.parametrize("header", ["", "Bearer wrong", "Basic abc"])
def test_netlify_a_bad_token_is_401(stage: Stage, header: str) -> None:
    reply = stage.http.get("/user", headers={"Authorization": header})
    assert reply.status_code == 401
    assert reply.json()["code"] == 401
    valid(reply.json(), "error")


def test_netlify_an_unmatched_path_is_404_in_plain_text(stage: Stage) -> None:
    reply = stage.get("/no/such/thing")
    assert (reply.status_code, reply.text) == (404, "Not Found")
    assert reply.headers["content-type"].startswith("text/plain")


@pytest.mark.parametrize("path", ["/sites/nobody", "/deploys/nothing", "/sites/nobody/deploys"])
def test_netlify_an_unknown_id_is_404_in_json(stage: Stage, path: str) -> None:
    reply = stage.get(path)
    assert reply.status_code == 404
    valid(reply.json(), "error")


def test_netlify_a_site_is_found_by_its_domain_name_too(stage: Stage) -> None:
    assert stage.get(f"/sites/{SITE}.netlify.app").json()["id"] == stage.site_id()


def test_netlify_pages_are_linked(make_stage: MakeStage) -> None:
    stage = make_stage()
    for number in range(101):
        stage.seed(0.5, f"{number:040x}", "failed")
    stage.run()
    path = f"/sites/{stage.site_id()}/deploys"
    first = stage.get(path, per_page=1000)
    assert len(first.json()) == 100
    assert 'rel="next"' in first.headers["link"]
    assert 'rel="last"' in first.headers["link"]
    second = stage.http.get(first.links["next"]["url"])
    assert len(second.json()) == 5
    assert "next" not in second.links
    assert {one["id"] for one in first.json()}.isdisjoint(one["id"] for one in second.json())


def test_netlify_deploys_are_filtered(make_stage: MakeStage) -> None:
    stage = make_stage()
    stage.seed(0.6, BAD, context="deploy-preview", branch="feature")
    stage.seed(0.5, "6" * 40, "failed")
    stage.run()
    path = f"/sites/{stage.site_id()}/deploys"

    def commits(**params: str) -> list[str]:
        return [one["commit_ref"][0] for one in stage.get(path, **params).json()]

    assert commits() == ["6", "5", "4", "3", "2", "1"]
    assert commits(production="true") == ["6", "4", "3", "2", "1"]
    assert commits(state="error") == ["6"]
    assert commits(branch="feature") == ["5"]
    assert commits(**{"latest-published": "true"}) == ["4"]


def test_netlify_superseded_deploys_turn_old(stage: Stage) -> None:
    states = {one["commit_ref"]: one["state"] for one in deploys(stage)}
    assert states == {R4: "ready", R3: "ready", R2: "ready", R1: "old"}


def test_netlify_five_hundred_calls_a_minute_then_429(make_stage: MakeStage) -> None:
    stage = make_stage(speed=1.0).run()
    stage.emulator.change(SITE, {"kind": "rate-limit", "limit": 2})
    first, second, third = (stage.get("/user") for _ in range(3))
    assert [one.headers["x-ratelimit-remaining"] for one in (first, second, third)] == list("100")
    assert (second.status_code, third.status_code) == (200, 429)
    assert third.headers["x-ratelimit-limit"] == "2"
    left = int(third.headers["x-ratelimit-reset"]) - stage.clock.now().timestamp()
    assert 0 < left <= 61
    valid(third.json(), "error")


def test_netlify_the_usual_rate_limit_is_500(stage: Stage) -> None:
    assert stage.get("/user").headers["x-ratelimit-limit"] == "500"


@pytest.mark.parametrize(
    ("plan", "left"), [("free", {R3, R4, BAD}), ("pro", {R1, R2, R3, R4, BAD})]
)
def test_netlify_retention_by_plan(make_stage: MakeStage, plan: str, left: set[str]) -> None:
    """Kept: the published deploy, the latest of every branch, and what is young enough."""
    stage = make_stage({"plan": plan})
    stage.seed(0.5, BAD, context="branch-deploy", branch="feature")
    stage.emulator.change(SITE, {"kind": "restore", "commit": R3})
    stage.run()
    stage.world.clock.advance(60 * 86400)
    assert {one["commit_ref"] for one in deploys(stage)} == left


def test_netlify_a_push_is_built_and_published_on_the_virtual_clock(stage: Stage) -> None:
    stage.stand_still()
    stage.push(BAD, "broken")
    build = stage.deploy_id(BAD)
    seen = []
    for _ in range(19):
        seen.append(stage.get(f"/deploys/{build}").json()["state"])
        stage.jump(5)
    assert list(dict.fromkeys(seen)) == ["enqueued", "building", "uploading", "processing", "ready"]
    made = stage.get(f"/deploys/{build}").json()
    took = instant(made["published_at"]) - instant(made["created_at"])
    assert took.total_seconds() == 90
    page = stage.page()
    assert page.status_code == 500
    assert page.headers["x-taly-commit"] == BAD
    assert build in page.text


def test_netlify_a_locked_site_builds_and_does_not_publish(stage: Stage) -> None:
    stage.post(f"/deploys/{stage.deploy_id(R4)}/lock")
    stage.push(BAD)
    stage.wait(120)
    assert stage.get(f"/deploys/{stage.deploy_id(BAD)}").json()["state"] == "ready"
    assert stage.published() == stage.deploy_id(R4)
    stage.post(f"/deploys/{stage.deploy_id(R4)}/unlock")
    stage.wait(60)
    assert stage.published() == stage.deploy_id(R4)


def test_netlify_a_lock_on_a_deploy_that_is_not_published_holds_nothing(stage: Stage) -> None:
    assert stage.post(f"/deploys/{stage.deploy_id(R3)}/lock").json()["locked"] is False
    assert not stage.locked()
    assert stage.writes() == []


@pytest.mark.parametrize(("follows", "locked"), [("deploy", False), ("site", True)])
def test_netlify_switch_what_a_lock_follows(
    make_stage: MakeStage, follows: str, locked: bool
) -> None:
    stage = make_stage({"lock_follows": follows, "restore_delay_s": 0.0}).run()
    stage.post(f"/deploys/{stage.deploy_id(R4)}/lock")
    stage.post(f"/sites/{stage.site_id()}/deploys/{stage.deploy_id(R3)}/restore")
    assert stage.get(f"/deploys/{stage.deploy_id(R3)}").json()["locked"] is locked


def test_netlify_switch_a_locked_site_may_refuse_a_restore(make_stage: MakeStage) -> None:
    stage = make_stage({"restore_when_locked": "refused"}).run()
    stage.post(f"/deploys/{stage.deploy_id(R4)}/lock")
    reply = stage.post(f"/sites/{stage.site_id()}/deploys/{stage.deploy_id(R3)}/restore")
    assert reply.status_code == 422
    valid(reply.json(), "error")


def test_netlify_switch_a_plan_may_have_no_locks(make_stage: MakeStage) -> None:
    stage = make_stage({"lock_allowed": False}).run()
    assert stage.post(f"/deploys/{stage.deploy_id(R4)}/lock").status_code == 403


def test_netlify_a_restore_takes_effect_later_and_overwrites_published_at(
    make_stage: MakeStage,
) -> None:
    stage = make_stage({"restore_delay_s": 9000.0}).run()
    r3 = stage.deploy_id(R3)
    before = stage.get(f"/deploys/{r3}").json()["published_at"]
    reply = stage.post(f"/sites/{stage.site_id()}/deploys/{r3}/restore")
    assert reply.status_code == 201
    assert stage.published() == stage.deploy_id(R4)
    stage.jump(9000)
    assert stage.get(f"/sites/{stage.site_id()}").json()["published_deploy"]["id"] == r3
    assert instant(stage.get(f"/deploys/{r3}").json()["published_at"]) > instant(before)


def test_netlify_a_failed_deploy_cannot_be_restored(make_stage: MakeStage) -> None:
    stage = make_stage()
    stage.seed(0.5, BAD, "failed")
    stage.run()
    failed = stage.deploy_id(BAD)
    assert stage.get(f"/deploys/{failed}").json()["error_message"]
    assert stage.post(f"/sites/{stage.site_id()}/deploys/{failed}/restore").status_code == 422


def test_netlify_failed_late_serves_a_while_and_is_taken_back(stage: Stage) -> None:
    stage.stand_still()
    stage.push(BAD, "failed-late")
    seen = []
    for _ in range(4):
        seen.append(stage.page().headers["x-taly-commit"])
        stage.jump(50)
    assert seen == [R4, R4, BAD, R4]


def test_netlify_cancel_ends_a_build(make_stage: MakeStage) -> None:
    stage = make_stage({"build_s": 9000.0}).run()
    stage.push(BAD)
    build = stage.deploy_id(BAD)
    reply = stage.post(f"/deploys/{build}/cancel")
    assert reply.status_code == 201
    assert reply.json()["state"] == "error"
    assert stage.post(f"/deploys/{build}/cancel").status_code == 422
    stage.jump(10000)
    assert stage.published() == stage.deploy_id(R4)


def test_netlify_stopped_builds_build_nothing(stage: Stage) -> None:
    stage.emulator.change(SITE, {"kind": "stop-builds"})
    stage.push(BAD)
    assert BAD not in json.dumps(stage.emulator.state())


@pytest.mark.parametrize(("level", "read"), [("none", 403), ("read", 200)])
def test_netlify_a_token_without_access_is_403(stage: Stage, level: str, read: int) -> None:
    stage.emulator.change(SITE, {"kind": "access", "level": level})
    assert stage.get(f"/sites/{stage.site_id()}").status_code == read
    lock = stage.post(f"/deploys/{stage.deploy_id(R4)}/lock")
    assert lock.status_code == 403
    valid(lock.json(), "error")


def test_netlify_console_changes(stage: Stage) -> None:
    stage.emulator.change(SITE, {"kind": "restore", "commit": R2})
    assert stage.page().headers["x-taly-commit"] == R2
    stage.emulator.change(SITE, {"kind": "stop-auto-publishing"})
    assert stage.locked()
    stage.emulator.change(SITE, {"kind": "unlock"})
    assert not stage.locked()
    r3 = stage.deploy_id(R3)
    stage.emulator.change(SITE, {"kind": "delete", "commit": R3})
    assert stage.get(f"/deploys/{r3}").status_code == 404


def test_netlify_unknown_settings_and_the_deletion_of_what_is_live_are_refused(
    make_stage: MakeStage,
) -> None:
    with pytest.raises(ValueError, match="unknown settings"):
        Stage({"planet": "mars"})
    stage = make_stage().run()
    with pytest.raises(ValueError, match="published"):
        stage.emulator.change(SITE, {"kind": "delete", "commit": R4})


def test_netlify_a_page_of_a_site_without_deploys_is_404(make_stage: MakeStage) -> None:
    stage = make_stage()
    stage.emulator.add(SandboxComponent(name="empty", vendor="netlify"))
    stage.run()
    assert httpx2.get(stage.emulator.url("empty"), trust_env=False).status_code == 404


def test_netlify_the_journal_says_what_wrote(stage: Stage) -> None:
    r4 = stage.deploy_id(R4)
    stage.get("/user")
    stage.post(f"/deploys/{r4}/lock")
    stage.post(f"/deploys/{r4}/lock")
    stage.post(f"/sites/{stage.site_id()}/deploys/{r4}/restore")
    calls = stage.world.journal.calls()
    assert [call.wrote for call in calls] == [False, True, False, False]
    assert {call.component for call in calls} == {"", SITE}


def deploys(stage: Stage) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = stage.get(f"/sites/{stage.site_id()}/deploys").json()
    return found


def instant(text: str) -> datetime:
    return datetime.fromisoformat(text).astimezone(UTC)
