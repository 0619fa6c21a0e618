"""What a provider must be allowed to do, as data: AWS's actions, a vendor's token, rights in SQL.

Each provider keeps its own beside its code; `taly permissions` joins them.
"""

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, replace
from typing import Literal

from taly.model.environment import Component
from taly.model.plan import Step

Part = Literal["read", "write", "check"]
"""To look; to roll back, besides; to have preflight check the first two, which is optional."""

ANY = "*"

Resources = Callable[[Component, str], Iterable[str]]
"""(component, region where it names none; empty = any) → the ARNs that actions are narrowed to."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Grant:
    """AWS actions of one provider that are narrowed in the same way."""

    sid: str
    """Letters and digits, of no other grant: IAM demands it."""
    part: Part
    actions: tuple[str, ...]
    resources: Resources
    """Nothing for a component that needs none of the actions."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Token:
    """The credentials of one vendor."""

    provider: str
    variable: str
    """The environment variable that holds it."""
    read: str
    """What it must be able to do for `taly status` and `taly plan`."""
    write: str
    """What besides for a rollback."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Right:
    """What one command needs of PostgreSQL."""

    needed_for: str
    rights: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Ask:
    """One AWS action that a step comes down to."""

    component: str
    action: str
    resource: str
    """ARN; its account may be `*`: the caller's own. So may its region: that of AWS_REGION."""
    region: str
    passed_to: str = ""
    """Of iam:PassRole: the service that the role is passed to (condition iam:PassedToService)."""
    only_if: str = ""
    """When the step needs it at all, in words; empty = always."""

    def of_account(self, account: str) -> "Ask":
        """The same with the account filled in: a question names a resource, and no pattern."""
        return self._with(4, account)

    def in_region(self, region: str) -> "Ask":
        """The same with the region filled in, where it names none."""
        return self._with(3, region) if region else self

    @property
    def is_anywhere(self) -> bool:
        """Whether its region is not known: a policy that names one would seem to forbid it."""
        return self.resource.split(":")[3:4] == [ANY]

    def _with(self, place: int, text: str) -> "Ask":
        parts = self.resource.split(":")
        if len(parts) > 5 and parts[place] == ANY:
            parts[place] = text
        return replace(self, resource=":".join(parts))


def _no_asks(step: Step) -> Iterator[Ask]:
    yield from ()


def _no_remarks(components: Iterable[Component], region: str) -> Iterator[str]:
    yield from ()


@dataclass(frozen=True, slots=True, kw_only=True)
class Needs:
    """All that one provider must be allowed to do."""

    grants: tuple[Grant, ...] = ()
    tokens: tuple[Token, ...] = ()
    rights: tuple[Right, ...] = ()
    passes_roles_to: str = ""
    """The AWS service that takes on a role which the caller passes; empty = none."""
    asks: Callable[[Step], Iterable[Ask]] = _no_asks
    """What a step that writes calls on AWS, for preflight to ask whether it is allowed."""
    remarks: Callable[[Iterable[Component], str], Iterator[str]] = _no_remarks
    """What a reader should know besides; takes this provider's components."""


def reads(sid: str, *actions: str, on: Resources) -> Grant:
    """What looking takes."""
    return Grant(sid=sid, part="read", actions=actions, resources=on)


def writes(sid: str, *actions: str, on: Resources) -> Grant:
    """What a rollback takes besides."""
    return Grant(sid=sid, part="write", actions=actions, resources=on)


def any_resource(component: Component, region: str) -> Iterator[str]:
    """AWS cannot narrow these actions."""
    yield ANY


def region_of(component: Component, default: str) -> str:
    """The region of a component on AWS; `*` where nothing names one."""
    named = component.settings.get("service", "")
    if named.startswith("arn:"):
        return named.split(":")[3]
    return component.settings.get("region") or default or ANY


def arn(service: str, region: str, resource: str) -> str:
    """An ARN of any account: whoever the policy is given to can reach its own only."""
    return f"arn:{partition(region)}:{service}:{region}:*:{resource}"


def partition(region: str) -> str:
    """AWS in China and for the US government name everything differently."""
    if region.startswith("cn-"):
        return "aws-cn"
    return "aws-us-gov" if region.startswith("us-gov-") else "aws"
