"""What taly must be allowed to do: what each provider needs, joined into policies for a taly.toml.

A test compares the actions with the calls that a rollback really makes.
"""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass

from taly.app.context import Context
from taly.config import Config
from taly.database import permissions as postgres
from taly.model.environment import Component
from taly.model.permissions import ANY, Grant, Needs, Part, Right, Token, partition, region_of
from taly.providers.apprunner import permissions as apprunner
from taly.providers.netlify import permissions as netlify
from taly.providers.serverless import permissions as serverless
from taly.providers.vercel import permissions as vercel

Policy = Mapping[str, object]

CHECKING = ("iam:SimulatePrincipalPolicy",)
"""Besides sts:GetCallerIdentity, which everybody may call and nobody can be denied."""
POLICY_LIMIT = 6144
"""Characters of a managed policy, white space not counted (IAM's quotas)."""

NEEDS: Mapping[str, Needs] = {
    "apprunner": apprunner.NEEDS,
    "serverless": serverless.NEEDS,
    "netlify": netlify.NEEDS,
    "vercel": vercel.NEEDS,
    "postgres": postgres.NEEDS,
}
"""Each provider's own words; every AWS action that taly ever calls stands in them, but
iam:PassRole, which AWS asks for by itself."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Permissions:
    """What one taly.toml needs."""

    read: Policy | None
    """For status, releases, plan and every preflight check; None = nothing is on AWS."""
    write: Policy | None
    """What a rollback needs besides."""
    check: Policy | None
    """What lets every plan check the first two beforehand; a plan works without it."""
    tokens: tuple[Token, ...]
    database: tuple[Right, ...]
    remarks: tuple[str, ...]


def permissions_of(context: Context) -> Permissions:
    """What this taly.toml needs; nothing is asked of anybody."""
    components = context.environment.components
    region = context.environ.get("AWS_REGION") or context.environ.get("AWS_DEFAULT_REGION") or ""
    needs = [needed for needed, _ in _used(components)]
    return Permissions(
        read=_with_shared(policy(components, region, "read"), context.config, region),
        write=policy(components, region, "write"),
        check=policy(components, region, "check"),
        tokens=tuple(token for one in needs for token in one.tokens),
        database=tuple(right for one in needs for right in one.rights),
        remarks=(*_remarks(components, region), *_shared_remarks(context.config)),
    )


def policy(components: Sequence[Component], region: str, part: Part) -> Policy | None:
    """The IAM policy for these components; None where none of them is on AWS.

    `region` is the one of components that name none; empty = any.
    """
    statements: list[dict[str, object]] = []
    passed = set()
    on_aws = any(_is_on_aws(needs, one, region) for needs, of in _used(components) for one in of)
    for needs, of in _used(components):
        for grant in needs.grants:
            if grant.part == part and (resources := _narrowed(grant, of, region)):
                statements.append(_statement(grant.sid, grant.actions, resources))
        passed |= {needs.passes_roles_to} - {""}
    if part == "check" and on_aws:
        statements.append(_statement("AskWhatIsAllowed", CHECKING, ["arn:*:iam::*:*"]))
    if part == "write" and passed:
        condition = {"StringEquals": {"iam:PassedToService": sorted(passed)}}
        passing = _statement("PassRoles", ("iam:PassRole",), [ANY])
        statements.append({**passing, "Condition": condition})
    return {"Version": "2012-10-17", "Statement": statements} if statements else None


def _with_shared(policy: Policy | None, config: Config, region: str) -> Policy | None:
    """The policy, and what the place needs that a team shares."""
    if not config.shared:
        return policy
    bucket, _, prefix = config.shared.removeprefix("s3://").partition("/")
    whole_bucket = f"arn:{partition(config.shared_region or region)}:s3:::{bucket}"
    under = "/".join(one for one in (whole_bucket, prefix, "*") if one)
    statements = [
        *(_statements(policy) if policy is not None else ()),
        _statement("ShareWithTeam", ("s3:GetObject", "s3:PutObject"), [under]),
        _statement("ListShared", ("s3:ListBucket",), [whole_bucket]),
    ]
    return {"Version": "2012-10-17", "Statement": statements}


def _shared_remarks(config: Config) -> Iterator[str]:
    if config.shared:
        yield "`shared` is written by looking too: a release gets its name when it is first seen"
        yield (
            "s3:ListBucket cannot be narrowed to the prefix: S3 then answers 403, not 404, for "
            "what is not there; with a KMS key add kms:Decrypt and kms:GenerateDataKey"
        )


def whole(permissions: Permissions, part: Part | None = None) -> Policy | None:
    """The part's policy; without one all parts' statements in a policy."""
    parts = {"read": permissions.read, "write": permissions.write, "check": permissions.check}
    if part is not None:
        return parts[part]
    found = [policy for policy in parts.values() if policy is not None]
    if not found:
        return None
    return {"Version": "2012-10-17", "Statement": [one for p in found for one in _statements(p)]}


def actions(policy: Policy) -> set[str]:
    """Every action that the policy allows."""
    return {action for one in _statements(policy) for action in one["Action"]}


def _statements(policy: Policy) -> list[dict[str, list[str]]]:
    statements = policy["Statement"]
    assert isinstance(statements, list)
    return statements


def _statement(sid: str, actions: Iterable[str], resources: Sequence[str]) -> dict[str, object]:
    return {
        "Sid": sid,
        "Effect": "Allow",
        "Action": list(actions),
        "Resource": list(resources),
    }


def _used(components: Sequence[Component]) -> Iterator[tuple[Needs, list[Component]]]:
    """What each provider that is used needs, and its components."""
    for name, needs in NEEDS.items():
        if of := [one for one in components if one.provider == name]:
            yield needs, of


def _narrowed(grant: Grant, components: Sequence[Component], region: str) -> list[str]:
    """The resources that these actions need, each once, in the components' order."""
    found: dict[str, None] = {}
    for component in components:
        found.update(dict.fromkeys(grant.resources(component, region)))
    return [ANY] if ANY in found else list(found)


def _remarks(components: Sequence[Component], region: str) -> Iterator[str]:
    used = list(_used(components))
    on_aws = [one for needs, of in used for one in of if _is_on_aws(needs, one, region)]
    if any(region_of(one, region) == ANY for one in on_aws):
        yield "a component names no region, and neither does AWS_REGION: set one to narrow it"
    for needs, of in used:
        yield from needs.remarks(of, region)
    if others := sorted({one.provider for one in components} - NEEDS.keys()):
        yield f"what a plug-in needs is its own affair: {', '.join(others)}"


def _is_on_aws(needs: Needs, component: Component, region: str) -> bool:
    return any(True for grant in needs.grants for _ in grant.resources(component, region))
