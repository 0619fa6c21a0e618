"""Asks AWS whether the present credentials may do what a plan wants: nothing is done by asking.

IAM's SimulatePrincipalPolicy weighs the caller's own policies, its permissions boundary and the
organisation's; not the policies of a role's session. What it says no to is refused in earnest, but
for conditions whose values it was not given.
https://docs.aws.amazon.com/IAM/latest/APIReference/API_SimulatePrincipalPolicy.html
"""

import re
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from taly.aws import AwsClients, aws_errors
from taly.errors import TalyError, VendorRefused
from taly.model.permissions import Ask

READ_TIMEOUT_S = 8.0
"""A check that takes longer than the others is not worth it."""
ASSUMED = re.compile(r"arn:(aws[\w-]*):sts::(\d{12}):assumed-role/([^/]+)/.+")
ROOT = re.compile(r"arn:aws[\w-]*:iam::\d{12}:root")
ENTITY = re.compile(r"arn:aws[\w-]*:iam::\d{12}:(?:user|role)/.+")


@dataclass(frozen=True, slots=True, kw_only=True)
class Denied:
    """One action that the caller may not do."""

    ask: Ask
    principal: str
    certain: bool
    """False where the answer hangs on conditions whose values were not given."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Unchecked:
    """AWS could not be asked; that says nothing about the permissions."""

    why: str


def unallowed(clients: AwsClients, region: str, asks: Iterable[Ask]) -> list[Denied] | Unchecked:
    """What of this the caller may not do.

    API: sts:GetCallerIdentity, which needs no permission, and iam:SimulatePrincipalPolicy.
    """
    try:
        with aws_errors("sts:GetCallerIdentity"):
            sts = clients.client("sts", region, attempts=2, read_timeout_s=READ_TIMEOUT_S)
            caller = sts.get_caller_identity()["Arn"]
        principal = principal_of(caller)
        if principal is None:
            return Unchecked(why=f"{caller} is neither a user nor a role")
        if ROOT.fullmatch(principal):
            return []
        account = principal.split(":")[4]
        asked = [ask.of_account(account) for ask in asks]
        return [one for some in _alike(asked) for one in _denied(clients, region, principal, some)]
    except TalyError as error:
        return Unchecked(why=error.message)


def principal_of(caller: str) -> str | None:
    """The user or role behind a caller's ARN; None where there is none, as of a federated user.

    A session's ARN does not name its role's path: a role that has one is then not found.
    """
    if session := ASSUMED.fullmatch(caller):
        return f"arn:{session[1]}:iam::{session[2]}:role/{session[3]}"
    return caller if ENTITY.fullmatch(caller) or ROOT.fullmatch(caller) else None


def _alike(asks: list[Ask]) -> Iterator[list[Ask]]:
    """Those of one service together: a question names actions and resources, and asks for all.

    What a role is passed to is said once for the whole question.
    """
    together = dict.fromkeys(map(_together, asks))
    for one in together:
        yield [ask for ask in asks if _together(ask) == one]


def _together(ask: Ask) -> tuple[str, str]:
    return ask.action.partition(":")[0], ask.passed_to


def _denied(clients: AwsClients, region: str, principal: str, asks: list[Ask]) -> Iterator[Denied]:
    iam = clients.client("iam", region, attempts=2, read_timeout_s=READ_TIMEOUT_S)
    with aws_errors("iam:SimulatePrincipalPolicy"):
        pages = iam.get_paginator("simulate_principal_policy").paginate(
            PolicySourceArn=principal,
            ActionNames=sorted({ask.action for ask in asks}),
            ResourceArns=sorted({ask.resource for ask in asks}),
            **_condition(asks[0].passed_to),
        )
        said = dict(one for page in pages for one in _decisions(page["EvaluationResults"]))
    for ask in asks:
        decision, certain = said.get((ask.action, ask.resource), ("", False))
        if not decision:  # an answer that is left out is no yes
            raise VendorRefused(
                f"IAM said nothing of {ask.action} on {ask.resource}",
                reference="aws-unexpected-answer",
            )
        if decision != "allowed":
            yield Denied(ask=ask, principal=principal, certain=certain)


def _condition(passed_to: str) -> dict[str, Any]:
    """What the question says of the request besides; a policy for PassRole hangs on it."""
    if not passed_to:
        return {}
    entry = {
        "ContextKeyName": "iam:PassedToService",
        "ContextKeyType": "string",
        "ContextKeyValues": [passed_to],
    }
    return {"ContextEntries": [entry]}


def _decisions(
    results: Iterable[Mapping[str, Any]],
) -> Iterator[tuple[tuple[str, str], tuple[str, bool]]]:
    """(action, resource) → (decision, whether nothing was missing), in either form of the answer.

    Several resources come as a result each, or as specific results under one.
    """
    for one in results:
        action = one["EvalActionName"]
        for each in one.get("ResourceSpecificResults") or ():
            decision = each["EvalResourceDecision"], not each.get("MissingContextValues")
            yield (action, each["EvalResourceName"]), decision
        decision = one["EvalDecision"], not one.get("MissingContextValues")
        yield (action, one.get("EvalResourceName", "*")), decision
