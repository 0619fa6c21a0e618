"""What taly must be allowed to do: for every combination of providers, and no wider than it can."""

import itertools
import json
import re
import tomllib
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest

from taly.app.permissions import (
    NEEDS,
    POLICY_LIMIT,
    Permissions,
    actions,
    permissions_of,
    whole,
)
from taly.cli.main import run
from taly.clock import SystemClock
from taly.config import load_config
from taly.config.settings import SETTINGS
from taly.database.permissions import RIGHTS

PAGE = Path(__file__).parents[2] / "docs" / "how-to" / "set-up-on-a-real-account.md"
COMPONENTS = {
    "apprunner": 'service = "backend"\nregion = "eu-west-1"',
    "serverless": 'service = "mail"\nstage = "prod"\nregion = "eu-west-1"\nbucket = "artifacts"',
    "netlify": 'site = "payments"',
    "vercel": 'project = "dashboard"\nteam = "team_1"',
    "postgres": "",
}
COMBINATIONS = [
    names for count in range(1, 6) for names in itertools.combinations(COMPONENTS, count)
]


def file(folder: Path, *components: tuple[str, str]) -> Path:
    """A taly.toml with these (provider, settings)."""
    lines = ['environment = "production"', 'store = "runs.db"']
    for number, (provider, settings) in enumerate(components):
        lines += [f"[components.c{number}]", f'provider = "{provider}"', settings]
    path = folder / "taly.toml"
    path.write_text("\n".join(lines), encoding="utf-8")
    return path


class Asked:
    """As much of a context as permissions need."""

    def __init__(self, path: Path, **environ: str) -> None:
        self.config = load_config(path)
        self.environment = self.config.environment
        self.environ: Mapping[str, str] = environ
        self.clock = SystemClock()


def needed(folder: Path, *components: tuple[str, str], **environ: str) -> Permissions:
    asked: Any = Asked(file(folder, *components), **environ)
    return permissions_of(asked)


def resources(policy: Any, action: str) -> list[str]:
    """The resources on which an action is allowed."""
    found = [one["Resource"] for one in policy["Statement"] if action in one["Action"]]
    assert len(found) == 1, action
    return list(found[0])


@pytest.mark.parametrize("names", COMBINATIONS, ids="+".join)
def test_only_what_these_providers_need(names: tuple[str, ...], tmp_path: Path) -> None:
    found = needed(tmp_path, *((name, COMPONENTS[name]) for name in names))
    on_aws = set(names) & {"apprunner", "serverless"}
    for part, policy in (("read", found.read), ("write", found.write)):
        wanted = {
            action
            for name in on_aws
            for grant in NEEDS[name].grants
            if grant.part == part and grant.sid != "FindBucket"
            for action in grant.actions
        }
        if part == "write" and "apprunner" in names:
            wanted.add("iam:PassRole")
        assert (actions(policy) if policy else set()) == wanted
    checking = {"iam:SimulatePrincipalPolicy"} if on_aws else set()
    assert (actions(found.check) if found.check else set()) == checking
    assert {token.provider for token in found.tokens} == set(names) & {"netlify", "vercel"}
    assert found.database == (RIGHTS if "postgres" in names else ())


def test_a_policy_names_what_taly_toml_names(tmp_path: Path) -> None:
    both = [(name, COMPONENTS[name]) for name in ("apprunner", "serverless")]
    policy = whole(needed(tmp_path, *both))
    service = ["arn:aws:apprunner:eu-west-1:*:service/backend/*"]
    stack = ["arn:aws:cloudformation:eu-west-1:*:stack/mail-prod/*"]
    assert resources(policy, "apprunner:UpdateService") == service
    assert resources(policy, "apprunner:DescribeService") == service
    assert resources(policy, "cloudformation:ExecuteChangeSet") == stack
    assert resources(policy, "cloudformation:GetTemplate") == stack
    assert resources(policy, "s3:ListBucket") == ["arn:aws:s3:::artifacts"]
    assert resources(policy, "s3:GetObject") == ["arn:aws:s3:::artifacts/*"]
    assert resources(policy, "lambda:GetFunctionConfiguration") == [
        "arn:aws:lambda:eu-west-1:*:function:*"
    ]


def test_what_aws_cannot_narrow_is_not_narrowed(tmp_path: Path) -> None:
    policy = needed(tmp_path, ("apprunner", COMPONENTS["apprunner"])).read
    for action in ("apprunner:ListServices", "cloudtrail:LookupEvents"):
        assert resources(policy, action) == ["*"]


def test_a_role_is_passed_only_to_whom_it_must_be(tmp_path: Path) -> None:
    for names in (("apprunner",), ("apprunner", "serverless")):
        policy: Any = needed(tmp_path, *((name, COMPONENTS[name]) for name in names)).write
        (passing,) = [one for one in policy["Statement"] if "iam:PassRole" in one["Action"]]
        to = passing["Condition"]["StringEquals"]["iam:PassedToService"]
        assert to == ["build.apprunner.amazonaws.com"]


def test_cloudformation_is_passed_no_role_for_it_has_the_stacks_own(tmp_path: Path) -> None:
    found = needed(tmp_path, ("serverless", COMPONENTS["serverless"]))
    assert found.write is not None
    assert "iam:PassRole" not in actions(found.write)


def test_a_service_that_is_named_by_its_arn_is_just_that_one(tmp_path: Path) -> None:
    arn = "arn:aws:apprunner:us-east-1:111122223333:service/backend/0123abcd"
    policy = needed(tmp_path, ("apprunner", f'service = "{arn}"')).read
    assert resources(policy, "apprunner:DescribeService") == [arn]
    assert resources(policy, "ecr:DescribeImages") == ["arn:aws:ecr:us-east-1:*:repository/*"]


@pytest.mark.parametrize(
    ("region", "partition"),
    [("eu-west-1", "aws"), ("cn-north-1", "aws-cn"), ("us-gov-west-1", "aws-us-gov")],
)
def test_the_region_is_that_of_the_environment_where_none_is_named(
    region: str, partition: str, tmp_path: Path
) -> None:
    found = needed(tmp_path, ("apprunner", 'service = "b"'), AWS_REGION=region)
    wanted = [f"arn:{partition}:apprunner:{region}:*:service/b/*"]
    assert resources(found.read, "apprunner:DescribeService") == wanted


def test_a_region_that_is_nowhere_named_is_any_and_said(tmp_path: Path) -> None:
    found = needed(tmp_path, ("apprunner", 'service = "b"'))
    assert resources(found.read, "apprunner:DescribeService") == [
        "arn:aws:apprunner:*:*:service/b/*"
    ]
    assert any("names no region" in remark for remark in found.remarks)


def test_a_bucket_that_is_not_named_has_to_be_looked_for(tmp_path: Path) -> None:
    found = needed(tmp_path, ("serverless", 'service = "mail"\nregion = "eu-west-1"'))
    assert resources(found.read, "ssm:GetParameter") == [
        "arn:aws:ssm:eu-west-1:*:parameter/serverless-framework/deployment/s3-bucket"
    ]
    assert resources(found.read, "s3:GetObject") == ["arn:aws:s3:::*/*"]
    assert resources(found.read, "cloudformation:GetTemplate") == [
        "arn:aws:cloudformation:eu-west-1:*:stack/mail-dev/*"
    ]
    assert any("set `bucket`" in remark for remark in found.remarks)


def test_ten_components_fit_into_a_managed_policy(tmp_path: Path) -> None:
    many = [("apprunner", f'service = "backend-{n}"\nregion = "eu-west-1"') for n in range(3)]
    many += [("serverless", f'service = "function-{n}"\nregion = "eu-west-1"') for n in range(7)]
    found = needed(tmp_path, *many)
    assert len(json.dumps(whole(found), separators=(",", ":"))) < POLICY_LIMIT


def test_every_statement_has_a_sid_of_its_own_as_iam_demands(tmp_path: Path) -> None:
    policy: Any = whole(needed(tmp_path, *COMPONENTS.items()))
    sids = [one["Sid"] for one in policy["Statement"]]
    assert len(set(sids)) == len(sids)
    assert all(re.fullmatch(r"[A-Za-z0-9]+", sid) for sid in sids)
    assert all(re.fullmatch(r"[a-z0-9]+:[A-Za-z]+", action) for action in actions(policy))


def test_what_a_plug_in_needs_is_said_to_be_unknown(tmp_path: Path) -> None:
    found = needed(tmp_path, ("acme", ""))
    assert found.read is found.write is None
    assert found.remarks == ("what a plug-in needs is its own affair: acme",)


def test_every_provider_is_looked_after() -> None:
    assert COMPONENTS.keys() == SETTINGS.keys() == NEEDS.keys()


class TestCommand:
    def test_iam_is_one_document_and_its_parts(
        self, tmp_path: Path, capsys: pytest.CaptureFixture[str]
    ) -> None:
        path = str(file(tmp_path, ("apprunner", COMPONENTS["apprunner"])))
        found = []
        for part in ([], ["--only", "read"], ["--only", "write"], ["--only", "check"]):
            assert run(["permissions", "--config", path, "--format", "iam", *part]) == 0
            found.append(json.loads(capsys.readouterr().out))
        whole_, read, write, check = found
        assert whole_["Version"] == "2012-10-17"
        parts = read["Statement"] + write["Statement"] + check["Statement"]
        assert whole_["Statement"] == parts
        assert actions(check) == {"iam:SimulatePrincipalPolicy"}

    def test_without_aws_there_is_no_policy(
        self, tmp_path: Path, capsys: pytest.CaptureFixture[str]
    ) -> None:
        path = str(file(tmp_path, ("netlify", COMPONENTS["netlify"])))
        assert run(["permissions", "--config", path, "--format", "iam"]) == 2
        said = capsys.readouterr()
        assert said.out == ""
        assert "no-iam-policy" in said.err

    def test_the_table_has_everything(
        self, tmp_path: Path, capsys: pytest.CaptureFixture[str]
    ) -> None:
        path = str(file(tmp_path, *COMPONENTS.items()))
        assert run(["permissions", "--config", path]) == 0
        said = capsys.readouterr().out
        for word in ("iam:PassRole", "NETLIFY_AUTH_TOKEN", "VERCEL_TOKEN", "pg_read_all_data"):
            assert word in said
        assert "passed only to build.apprunner.amazonaws.com\n" in said
        assert "on arn:aws:cloudformation:eu-west-1:*:stack/mail-prod/*\n" in said
        assert run(["permissions", "--config", path, "--only", "read"]) == 0
        assert "apprunner:UpdateService" not in capsys.readouterr().out


class TestPage:
    """The how-to quotes the command, and says of PostgreSQL what the command says."""

    text = PAGE.read_text(encoding="utf-8")

    def test_its_policy_is_what_the_command_prints_for_its_taly_toml(
        self, tmp_path: Path, capsys: pytest.CaptureFixture[str]
    ) -> None:
        (toml,) = re.findall(r"```toml\n(.*?)```", self.text, re.DOTALL)
        policies = re.findall(r"```json\n(.*?)```", self.text, re.DOTALL)
        assert tomllib.loads(toml)["components"]
        path = tmp_path / "taly.toml"
        path.write_text(toml, encoding="utf-8")
        for part, policy in zip(("read", "write"), policies, strict=True):
            arguments = ["permissions", "--config", str(path), "--format", "iam", "--only", part]
            assert run(arguments) == 0
            assert json.loads(policy) == json.loads(capsys.readouterr().out), part

    def test_its_rights_are_those_of_the_command(self) -> None:
        plain = self.text.replace("`", "")
        for right in RIGHTS:
            assert f"| {right.needed_for} | {right.rights} |" in plain


def test_what_a_team_shares_is_narrowed_to_its_prefix(tmp_path: Path) -> None:
    path = file(tmp_path, ("netlify", COMPONENTS["netlify"]))
    text = path.read_text().replace('store = "runs.db"', 'shared = "s3://team/taly/prod"')
    path.write_text(text)
    found = permissions_of(Asked(path))
    assert found.read is not None
    assert found.read["Statement"] == [
        {
            "Sid": "ShareWithTeam",
            "Effect": "Allow",
            "Action": ["s3:GetObject", "s3:PutObject"],
            "Resource": ["arn:aws:s3:::team/taly/prod/*"],
        },
        {
            "Sid": "ListShared",
            "Effect": "Allow",
            "Action": ["s3:ListBucket"],
            "Resource": ["arn:aws:s3:::team"],
        },
    ]
    assert any("gets its name when it is first seen" in one for one in found.remarks)
    path.write_text(text.replace("s3://team/taly/prod", "s3://team"))
    bare = permissions_of(Asked(path))
    assert bare.read is not None
    assert bare.read["Statement"][0]["Resource"] == ["arn:aws:s3:::team/*"]
