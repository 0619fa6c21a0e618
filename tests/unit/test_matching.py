"""Matching a checkout with the vendors: what joins, what is asked, what is left out and why."""

from taly.app.matching import match
from taly.checkout import Found
from taly.providers.inventory import Listed


def found(provider: str, name: str, **settings: str) -> Found:
    return Found(name=name, provider=provider, path=f"{name}/file", settings=settings)


def listed(provider: str, name: str, **settings: str) -> Listed:
    ids = (name, *settings.values())
    return Listed(provider=provider, name=name, settings=settings, ids=ids)


def test_an_id_in_the_checkout_wins_over_names() -> None:
    result = match(
        [found("vercel", "web", project="prj_2")],
        [listed("vercel", "web", project="prj_1"), listed("vercel", "other", project="prj_2")],
        {},
    )
    assert [c.settings["project"] for c in result.components] == ["prj_2"]


def test_a_folder_matches_a_service_by_the_end_of_its_name() -> None:
    result = match(
        [found("apprunner", "backend")],
        [listed("apprunner", "taly-backend", service="taly-backend")],
        {},
    )
    assert result.components[0].settings == {"service": "taly-backend"}


def test_production_is_chosen_among_stages() -> None:
    stacks = [listed("serverless", f"mail-{stage}", region="r") for stage in ("dev", "prod")]
    result = match([found("serverless", "mail", service="mail")], stacks, {})
    assert result.components[0].settings["stage"] == "prod"


def test_two_candidates_are_a_question() -> None:
    services = [listed("apprunner", name, service=name) for name in ("a-api", "b-api")]
    result = match([found("apprunner", "api")], services, {})
    assert [len(question.choices) for question in result.questions] == [2]
    assert result.components == []


def test_what_the_checkout_does_not_mention_is_left_out_with_a_reason() -> None:
    result = match([], [listed("netlify", "old-site", site="s")], {})
    assert [item.what for item in result.left_out] == ["netlify old-site"]


def test_a_vendor_that_cannot_be_asked_hides_nothing() -> None:
    result = match(
        [found("vercel", "web", project="prj_1"), found("apprunner", "api")],
        [],
        {"vercel": "VERCEL_TOKEN is not set", "apprunner": "AWS_REGION is not set"},
    )
    assert [c.name for c in result.components] == ["web"]
    assert "AWS_REGION is not set" in result.left_out[0].why


def test_frontends_deploy_after_code_and_code_after_the_database() -> None:
    result = match(
        [
            found("vercel", "web", project="prj_1"),
            found("postgres", "database", migrations="m"),
            found("apprunner", "api"),
        ],
        [listed("vercel", "web", project="prj_1"), listed("apprunner", "api", service="api")],
        {},
    )
    after = {c.name: c.after for c in result.components}
    assert after == {"database": (), "api": ("database",), "web": ("api",)}


def test_two_components_of_one_name_get_names_of_their_own() -> None:
    result = match(
        [found("netlify", "web", site="a"), found("netlify", "web", site="b")],
        [listed("netlify", "one", site="a"), listed("netlify", "two", site="b")],
        {},
    )
    assert sorted(c.name for c in result.components) == ["web", "web-2"]
