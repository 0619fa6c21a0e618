"""CloudFormation's API, asynchronous on the virtual clock; its resources are made by moto.

Instead of moto's own CloudFormation, which is synchronous and never fails, knows no client tokens
and no ContinueUpdateRollback, and checks no capabilities.
"""

import uuid
from collections.abc import Callable, Mapping
from datetime import datetime, timedelta
from typing import Any

from taly.sandbox.serverless import changes
from taly.sandbox.serverless.moto_server import MotoServer
from taly.sandbox.serverless.query import AwsError
from taly.sandbox.serverless.resources import StackResources
from taly.sandbox.serverless.stacks import UPDATABLE, ChangeSet, Stack, Target
from taly.sandbox.serverless.updates import RECOVERY_S, UPDATE_S, Fate, Update, roll_back
from taly.sandbox.world import VirtualClock

CHANGE_SET_S = 4.0
EVENTS_A_PAGE = 100
NO_CHANGES = (
    "The submitted information didn't contain changes. "
    "Submit different information to create a change set."
)
Params = Mapping[str, Any]
Chosen = Callable[[Stack, str], Fate]
"""The fate of an update of this stack by this operation."""


class CloudFormation:
    """The stacks of one account in one region, and the operations on them.

    Every operation takes the request's parameters and returns the result as data, with whether it
    changed anything. Refusals are raised as AwsError.
    """

    def __init__(self, *, moto: MotoServer, clock: VirtualClock, region: str, fate: Chosen) -> None:
        self._moto = moto
        self._clock = clock
        self._fate = fate
        self.region = region
        self.stacks: dict[str, Stack] = {}
        self.update_s = UPDATE_S

    def create(self, name: str, component: str, body: str, *, at: datetime) -> Stack:
        """Make a stack whose resources are already there: the framework's first deploy."""
        stack_id = (
            f"arn:aws:cloudformation:{self.region}:{self._moto.account}:stack/{name}/{uuid.uuid4()}"
        )
        resources = StackResources(
            moto=self._moto, stack_id=stack_id, stack=name, region=self.region
        )
        stack = Stack(id=stack_id, name=name, component=component, created=at, resources=resources)
        stack.template, stack.body = changes.parsed(body), body
        stack.tags = {"STAGE": name.rsplit("-", 1)[-1]}
        self.stacks[name] = stack
        began = at - timedelta(seconds=30)
        stack.say(began, "CREATE_IN_PROGRESS", "", "User Initiated")
        resources.bring_to(stack.template, {}, at)
        stack.say(at, "CREATE_COMPLETE", "")
        return stack

    def catch_up(self) -> None:
        """Let everything happen that was due by now."""
        for stack in self.stacks.values():
            stack.catch_up(self._clock.now())

    def start(
        self,
        stack: Stack,
        target: Target,
        *,
        fate: Fate,
        token: str = "",
        at: datetime | None = None,
    ) -> None:
        """Begin an update, now or at that instant."""
        update = Update(
            stack=stack,
            target=target,
            moto=self._moto,
            fate=fate,
            token=token,
            span_s=self.update_s,
        )
        for made in stack.change_sets.values():
            made.obsolete = not made.executed
        update.begin(at or self._clock.now())

    def find(self, params: Params) -> Stack:
        """The stack that StackName names, by name or id; ValidationError if there is none."""
        wanted = str(params.get("StackName", ""))
        for stack in self.stacks.values():
            if wanted in (stack.name, stack.id):
                return stack
        raise AwsError("ValidationError", f"Stack with id {wanted} does not exist")

    def update_stack(self, params: Params) -> tuple[dict[str, Any], bool]:
        """UpdateStack: refuses a template without a change."""
        stack = self.find(params)
        if self._repeated(stack, params, "UpdateStack"):
            return {"StackId": stack.id}, False
        _demand_updatable(stack)
        target = self._target(stack, params)
        if target.template == stack.template and target.parameters == stack.parameters:
            raise AwsError("ValidationError", "No updates are to be performed.")
        token = _take_token(stack, params, "UpdateStack")
        self.start(stack, target, fate=self._fate(stack, "UpdateStack"), token=token)
        return {"StackId": stack.id}, True

    def create_change_set(self, params: Params) -> tuple[dict[str, Any], bool]:
        """CreateChangeSet of type UPDATE; the listing is ready some seconds later."""
        stack = self.find(params)
        name = str(params["ChangeSetName"])
        if self._change_set(stack, name) is not None:
            raise AwsError("AlreadyExistsException", f"ChangeSet {name} already exists")
        _demand_updatable(stack)
        target = self._target(stack, params)
        now = self._clock.now()
        made = ChangeSet(
            id=(
                f"arn:aws:cloudformation:{self.region}:{self._moto.account}"
                f":changeSet/{name}/{uuid.uuid4()}"
            ),
            name=name,
            created=now,
            ready_at=now + timedelta(seconds=CHANGE_SET_S),
            target=target,
            changes=changes.differences(stack, target.template),
        )
        stack.change_sets[made.id] = made
        return {"Id": made.id, "StackId": stack.id}, True

    def describe_change_set(self, params: Params) -> tuple[dict[str, Any], bool]:
        """DescribeChangeSet."""
        stack, found = self._demand_change_set(params)
        status, execution, reason = self._standing(stack, found)
        listing = found.changes if status == "CREATE_COMPLETE" else []
        result = {
            "ChangeSetName": found.name,
            "ChangeSetId": found.id,
            "StackId": stack.id,
            "StackName": stack.name,
            "CreationTime": found.created,
            "Status": status,
            "ExecutionStatus": execution,
            "StatusReason": reason or None,
            "Capabilities": list(found.target.capabilities),
            "Changes": listing,
        }
        return result, False

    def list_change_sets(self, params: Params) -> tuple[dict[str, Any], bool]:
        """ListChangeSets."""
        stack = self.find(params)
        summaries = []
        for found in stack.change_sets.values():
            status, execution, _ = self._standing(stack, found)
            summaries.append(
                {
                    "StackId": stack.id,
                    "StackName": stack.name,
                    "ChangeSetId": found.id,
                    "ChangeSetName": found.name,
                    "Status": status,
                    "ExecutionStatus": execution,
                    "CreationTime": found.created,
                }
            )
        return {"Summaries": summaries}, False

    def delete_change_set(self, params: Params) -> tuple[dict[str, Any], bool]:
        """DeleteChangeSet: one that does not exist is no error (with moto it is a 500)."""
        stack = self.find(params)
        found = self._change_set(stack, str(params["ChangeSetName"]))
        if found is not None:
            del stack.change_sets[found.id]
        return {}, found is not None

    def execute_change_set(self, params: Params) -> tuple[dict[str, Any], bool]:
        """ExecuteChangeSet: begins the update; the same ClientRequestToken again does nothing."""
        stack = self.find(params)
        if self._repeated(stack, params, "ExecuteChangeSet"):
            return {}, False
        stack, found = self._demand_change_set(params)
        _, execution, _ = self._standing(stack, found)
        if execution != "AVAILABLE":
            message = f"ChangeSet [{found.id}] cannot be executed in its current status"
            raise AwsError("InvalidChangeSetStatus", message)
        _demand_updatable(stack)
        found.executed = True
        stack.change_sets = {found.id: found}  # the others no longer fit the stack
        token = _take_token(stack, params, "ExecuteChangeSet")
        self.start(stack, found.target, fate=self._fate(stack, "ExecuteChangeSet"), token=token)
        return {}, True

    def continue_update_rollback(self, params: Params) -> tuple[dict[str, Any], bool]:
        """ContinueUpdateRollback: tries once more to go back to what was before."""
        stack = self.find(params)
        if self._repeated(stack, params, "ContinueUpdateRollback"):
            return {}, False
        before = stack.stuck_on
        if stack.status != "UPDATE_ROLLBACK_FAILED" or before is None:
            message = f"RollbackUpdatedStack: {stack.name} is in {stack.status} state"
            raise AwsError("ValidationError", message)
        token = _take_token(stack, params, "ContinueUpdateRollback")
        now = self._clock.now()
        fate = self._fate(stack, "ContinueUpdateRollback")
        stack.say(now, "UPDATE_ROLLBACK_IN_PROGRESS", token, "User Initiated")
        end = now + timedelta(seconds=RECOVERY_S)
        fails = fate == "rollback-fails"
        stack.plan([(end, lambda at: roll_back(stack, before, at, token, fails=fails))])
        return {}, True

    def _target(self, stack: Stack, params: Params) -> Target:
        body = self._body(stack, params)
        template = changes.parsed(body)
        given = params.get("Capabilities") or []
        missing = changes.missing_capabilities(template, tuple(given))
        if missing:
            raise AwsError(
                "InsufficientCapabilitiesException", f"Requires capabilities : [{missing}]"
            )
        tags = params.get("Tags")
        topics = params.get("NotificationARNs")
        return Target(
            template=template,
            body=body,
            parameters=_parameters(stack, template, params.get("Parameters") or []),
            tags=None if tags is None else {tag["Key"]: tag["Value"] for tag in tags or []},
            topics=None if topics is None else list(topics or []),
            capabilities=tuple(given),
        )

    def _body(self, stack: Stack, params: Params) -> str:
        if params.get("UsePreviousTemplate") == "true":
            return stack.body
        if "TemplateBody" in params:
            return str(params["TemplateBody"])
        bucket, key = changes.bucket_and_key(str(params.get("TemplateURL", "")))
        found = self._moto.read(bucket, key)
        if found is None:
            raise AwsError("ValidationError", "S3 error: The specified key does not exist.")
        return found.decode()

    def _standing(self, stack: Stack, found: ChangeSet) -> tuple[str, str, str]:
        """Status, execution status and reason of a change set, now."""
        if found.executed:
            return "CREATE_COMPLETE", "EXECUTE_COMPLETE", ""
        if found.obsolete:
            return "CREATE_COMPLETE", "OBSOLETE", ""
        if self._clock.now() < found.ready_at:
            return "CREATE_IN_PROGRESS", "UNAVAILABLE", ""
        if not found.changes and found.target.parameters == stack.parameters:
            return "FAILED", "UNAVAILABLE", NO_CHANGES
        return "CREATE_COMPLETE", "AVAILABLE", ""

    def _change_set(self, stack: Stack, wanted: str) -> ChangeSet | None:
        for found in stack.change_sets.values():
            if wanted == found.id or (wanted == found.name and not found.executed):
                return found
        return None

    def _demand_change_set(self, params: Params) -> tuple[Stack, ChangeSet]:
        wanted = str(params["ChangeSetName"])
        stacks = [self.find(params)] if params.get("StackName") else list(self.stacks.values())
        for stack in stacks:
            found = self._change_set(stack, wanted)
            if found is not None:
                return stack, found
        raise AwsError("ChangeSetNotFound", f"ChangeSet [{wanted}] does not exist", 404)

    def _repeated(self, stack: Stack, params: Params, operation: str) -> bool:
        token = params.get("ClientRequestToken")
        used_for = stack.tokens.get(str(token)) if token else None
        if used_for and used_for != operation:
            raise AwsError("TokenAlreadyExistsException", f"token {token} was used for {used_for}")
        return used_for is not None


def _take_token(stack: Stack, params: Params, operation: str) -> str:
    token = str(params.get("ClientRequestToken") or "")
    if token:
        stack.tokens[token] = operation
    return token


def _demand_updatable(stack: Stack) -> None:
    if stack.status not in UPDATABLE:
        message = f"Stack:{stack.id} is in {stack.status} state and can not be updated."
        raise AwsError("ValidationError", message)


def _parameters(
    stack: Stack, template: Mapping[str, Any], given: list[dict[str, str]]
) -> dict[str, str]:
    values = {}
    by_name = {one["ParameterKey"]: one for one in given}
    for name, declared in template.get("Parameters", {}).items():
        one = by_name.get(name, {})
        if one.get("UsePreviousValue") == "true":
            values[name] = stack.parameters.get(name, str(declared.get("Default", "")))
        elif "ParameterValue" in one or "Default" in declared:
            values[name] = str(one.get("ParameterValue", declared.get("Default")))
        else:
            raise AwsError("ValidationError", f"Parameters: [{name}] must have values")
    unknown = sorted(by_name.keys() - template.get("Parameters", {}).keys())
    if unknown:
        raise AwsError(
            "ValidationError", f"Parameters: [{', '.join(unknown)}] do not exist in the template"
        )
    return values
