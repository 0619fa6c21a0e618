"""Scenario files: what they mean, and that every mistake is named at once."""

import json
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from jsonschema import Draft202012Validator

from taly.errors import UsageError
from taly.sandbox.durations import parse_duration
from taly.sandbox.scenario import PushEntry, schema
from taly.sandbox.scenario_file import load, parse, shipped
from taly.sandbox.timeline import past, to_come, under_way

SMALL = """
name = "two"
description = "Two components."

[[components]]
name = "api"
vendor = "apprunner"

[[components]]
name = "web"
vendor = "vercel"
after = ["api"]
"""
READY = datetime(2026, 3, 1, 12, tzinfo=UTC)


class Recorder:
    """Stands where an emulator stands in a timeline: remembers what it was asked."""

    def __init__(self) -> None:
        self.deploys: list[object] = []
        self.changes: list[object] = []

    def deploy(self, deploy: object) -> None:
        self.deploys.append(deploy)

    def change(self, component: str, change: object) -> None:
        self.changes.append((component, change))


@pytest.mark.parametrize(
    ("text", "seconds"),
    [("5m", 300), ("-3d", -259200), ("-6h30m", -23400), ("1d2h3m4s", 93784), ("0s", 0)],
)
def test_a_span_of_time_is_read_as_people_write_it(text: str, seconds: int) -> None:
    assert parse_duration(text) == timedelta(seconds=seconds)


@pytest.mark.parametrize(
    "text", ["", "-", "3", "3w", "1.5h", "5m3h", "--3d", "3d ", "3d\n", "٣d", "9999999d"]
)
def test_what_is_no_span_of_time_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match="no span of time"):
        parse_duration(text)


@pytest.mark.parametrize("name", shipped())
def test_every_shipped_scenario_is_right_and_fits_the_schema(name: str) -> None:
    import tomllib

    scenario = load(name)
    assert scenario.name == name
    path = Path("src/taly/sandbox/scenarios") / f"{name}.toml"
    raw = tomllib.loads((Path(__file__).parents[2] / path).read_text("utf-8"))
    Draft202012Validator(schema()).validate(raw)


def test_the_schema_is_one() -> None:
    Draft202012Validator.check_schema(json.loads(json.dumps(schema())))


def test_the_default_scenario_is_ten_components_and_four_releases_the_last_one_bad() -> None:
    scenario = load("taly")
    vendors = [component.vendor for component in scenario.components]
    assert sorted(vendors) == sorted(
        ["postgres", "apprunner", "vercel", "vercel", "netlify", *["serverless"] * 5]
    )
    assert [deploy.at for deploy in scenario.deploys] == [
        timedelta(days=-6),
        timedelta(days=-3),
        timedelta(days=-1),
        timedelta(minutes=-40),
    ]
    assert [deploy.outcome for deploy in scenario.deploys] == ["ok", "ok", "ok", "broken"]


def test_every_mistake_is_named_at_once_with_its_key_path() -> None:
    text = (
        SMALL.replace('after = ["api"]', 'after = ["app"]\ncolour = "red"')
        + """
[[deploys]]
at = "3 days ago"
commit = "xyz"
components = ["wep"]
outcomes = { nobody = "ok" }

[[deploys]]
at = "2h"
commit = "abcdef1"
outcome = "meh"

[[faults]]
count = 0
vendor = "heroku"
component = "nobody"
"""
    )
    with pytest.raises(UsageError) as caught:
        parse(text, where="mine.toml")
    error = caught.value
    assert error.reference == "scenario-invalid"
    for path in (
        "components[1].colour: unknown key",
        "components[1].after[0]: there is no component 'app'",
        "deploys[0].at: '3 days ago' is no span of time",
        "deploys[0].commit:",
        "deploys[0].components[0]: there is no component 'wep'",
        "deploys[0].outcomes.nobody: there is no component 'nobody'",
        "deploys[1].at:",
        "deploys[1].outcome:",
        "faults[0].kind: is missing",
        "faults[0].count:",
        "faults[0].vendor:",
        "faults[0].component: there is no component 'nobody'",
    ):
        assert path in error.message
    assert error.message.startswith("mine.toml has 12 mistakes:")


@pytest.mark.parametrize(
    ("text", "said"),
    [
        (SMALL.replace('"web"', '"api"'), "'api' is there twice"),
        (SMALL.replace('"apprunner"', '"apprunner"\nafter = ["web"]'), "wait for each other"),
        (SMALL.replace('"apprunner"', '"postgres"').replace('"vercel"', '"postgres"'), "at most"),
        (SMALL.replace("[[components]]", "[[component]]"), "component: unknown key"),
        ("components = 3\nname = 4\ndeploys = ['x']", "deploys[0]:"),
        ("components = [{name = 3, after = 3}]", "components[0].after:"),
        ("name = ", "no TOML"),
    ],
)
def test_what_makes_no_sense_is_refused_and_not_a_crash(text: str, said: str) -> None:
    with pytest.raises(UsageError) as caught:
        parse(text, where="mine.toml")
    assert said in caught.value.message


def test_a_scenario_that_is_not_there_names_those_that_are() -> None:
    with pytest.raises(UsageError) as caught:
        load("talyy")
    assert caught.value.reference == "scenario-unknown"
    assert "taly-small" in caught.value.message


def test_a_release_reaches_its_components_minutes_apart_in_deploy_order() -> None:
    scenario = parse(SMALL + '[[deploys]]\nat = "-3d"\ncommit = "abcdef1"\n', where="mine.toml")
    emulators = {"apprunner": Recorder(), "vercel": Recorder()}
    happenings = past(scenario, emulators, READY)
    assert [(one.component, one.at) for one in happenings] == [
        ("api", READY - timedelta(days=3)),
        ("web", READY - timedelta(days=3) + timedelta(minutes=3)),
    ]


def test_changes_and_pushes_stand_on_their_side_of_the_present() -> None:
    scenario = parse(
        SMALL
        + """
[[changes]]
at = "-5m"
component = "api"
change = { kind = "pause" }
[[changes]]
at = "5m"
component = "web"
change = { kind = "lock" }
[[pushes]]
after = "2m"
commit = "abcdef1"
components = ["web"]
outcomes = { web = "broken" }
[[in_flight]]
started = "-30s"
commit = "abcdef2"
components = ["web"]
""",
        where="mine.toml",
    )
    api, web = Recorder(), Recorder()
    emulators = {"apprunner": api, "vercel": web}
    assert [one.at for one in past(scenario, emulators, READY)] == [READY - timedelta(minutes=5)]
    assert [one.at for one in under_way(scenario, emulators, READY)] == [
        READY - timedelta(seconds=30)
    ]
    coming = to_come(scenario, emulators, READY)
    assert [one.at for one in coming] == [
        READY + timedelta(minutes=2),
        READY + timedelta(minutes=5),
    ]
    coming[0].do()
    coming[1].do()
    assert web.deploys[0].outcome == "broken"
    assert web.changes == [("web", {"kind": "lock"})]
    assert api.deploys == []


def test_the_known_kinds_of_faults_are_those_of_the_emulators() -> None:
    """The table in `scenario` spares it from importing every emulator; it must not drift."""
    from taly.sandbox.apprunner.emulator import FAULTS
    from taly.sandbox.apprunner.fleet import FATES
    from taly.sandbox.netlify import NetlifyEmulator
    from taly.sandbox.scenario import FAULT_KINDS
    from taly.sandbox.serverless.emulator import UPDATE_FAULTS
    from taly.sandbox.vercel.project import JOB_FAULTS
    from taly.sandbox.world import HTTP_FAULTS

    assert FAULT_KINDS["any vendor"] == HTTP_FAULTS
    assert FAULT_KINDS["apprunner"] == FAULTS | FATES.keys() | {"lost-operation-id"}
    assert FAULT_KINDS["vercel"] == JOB_FAULTS
    assert FAULT_KINDS["serverless"] == UPDATE_FAULTS | {"hotfix"}
    for kind in FAULT_KINDS["netlify"]:
        assert f"`{kind}`" in (NetlifyEmulator.__doc__ or "")


def test_a_fault_that_nobody_knows_would_never_strike_and_is_refused() -> None:
    with pytest.raises(UsageError, match=r"no fault of kind 'lose-replies'; known: .*lose-reply"):
        parse(SMALL + '[[faults]]\nkind = "lose-replies"\n', where="mine.toml")


@pytest.mark.parametrize(
    "where", ['component = "web"', 'vendor = "vercel"', 'component = "api"\nvendor = "netlify"']
)
def test_a_fault_that_can_never_strike_where_it_is_aimed_is_refused(where: str) -> None:
    with pytest.raises(UsageError, match=r"'health-fail' never strikes (vercel|netlify)"):
        parse(SMALL + f'[[faults]]\nkind = "health-fail"\n{where}\n', where="mine.toml")
    aimed = SMALL + '[[faults]]\nkind = "health-fail"\ncomponent = "api"\n'
    assert parse(aimed, where="mine.toml").faults[0].kind == "health-fail"


def test_the_file_in_the_reference_is_right() -> None:
    text = (Path(__file__).parents[2] / "docs" / "reference" / "scenarios.md").read_text("utf-8")
    example = text.split("```toml\n")[1].split("```")[0]
    assert parse(example, where="the reference").name == "monday"


def test_the_reference_names_every_key_every_scenario_and_every_kind_of_fault() -> None:
    from taly.sandbox import scenario

    text = (Path(__file__).parents[2] / "docs" / "reference" / "scenarios.md").read_text("utf-8")
    models = [scenario.Scenario, scenario.ComponentEntry, scenario.DeployEntry]
    models += [scenario.ChangeEntry, scenario.InFlightEntry, scenario.PushEntry]
    models += [scenario.FaultEntry]
    keys = {key for model in models for key in model.model_fields}
    kinds = frozenset().union(*scenario.FAULT_KINDS.values())
    assert not [word for word in (*keys, *shipped(), *kinds) if f"`{word}`" not in text]


def test_the_default_scenario_deploys_in_the_order_that_the_design_names() -> None:
    scenario = load("taly")
    waves = [
        {scenario.component(name).vendor for name in wave}
        for wave in scenario.waves(scenario.deploys[0])
    ]
    assert waves == [{"postgres"}, {"apprunner", "serverless"}, {"vercel", "netlify"}]


def test_a_commit_that_is_pushed_again_is_the_same_code() -> None:
    scenario = load("taly")
    bad = scenario.deploys[-1]
    again = scenario.recalled(PushEntry(commit=bad.commit[:7], after="0s"))
    for name in (component.name for component in scenario.components):
        assert again.of(name) == bad.of(name)
    mended = scenario.recalled(PushEntry(commit=bad.commit, after="0s", outcome="ok"))
    assert mended.of("backend").outcome == "ok"
    assert mended.of("backend").settings == {"schema_version": 5, "fails": "lists"}
    other = PushEntry(commit="1234567", after="0s", message="new")
    assert scenario.recalled(other) == other
