"""How an update of a stack goes in time: its events, its end, and the ways in which it fails.

The order of states is CloudFormation's ("Understand stack creation events", "Continue rolling back
an update" in its user guide). The times are of the size that a small Serverless service needs.
"""

from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Literal

from taly.sandbox.serverless.moto_server import MotoServer
from taly.sandbox.serverless.resources import FUNCTION, Template, retained
from taly.sandbox.serverless.stacks import Stack, Target

Fate = Literal["ok", "fails", "rollback-fails", "false-success", "half-success", "late"]
"""half-success: the last function keeps its code, false-success: all do, whatever the stack says.
late: it serves for a while, then a rollback trigger's alarm has it taken back."""

UPDATE_S = 45.0
RECOVERY_S = 15.0
CODE = frozenset({"code", "code_bytes", "code_sha_256", "code_size"})
"""What moto keeps of a function's code."""
NO_KEY = (
    "Resource handler returned message: Error occurred while GetObject. S3 Error Code: NoSuchKey. "
    "S3 Error Message: The specified key does not exist."
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Update:
    """One update of one stack, from its first event to its last."""

    stack: Stack
    target: Target
    moto: MotoServer
    fate: Fate
    token: str
    span_s: float = UPDATE_S

    def begin(self, at: datetime) -> None:
        """Start it: everything that follows is put on the stack's calendar."""
        before = self._now()
        self.stack.updated = at
        self.stack.submitted = self.target.body
        self.stack.say(at, "UPDATE_IN_PROGRESS", self.token, "User Initiated")
        self.stack.plan(
            [(self._instant(at, 0.3), self._work), (self._instant(at, 0.85), self._end)]
        )
        if self.fate == "late":
            self.stack.due = [(self._instant(at, 0.85), self._serve_for_a_while)]
        elif self._failure() and self.fate != "false-success":
            self.stack.due = [
                (self._instant(at, 0.3), self._fail),
                (self._instant(at, 1.0), lambda end: self._roll_back(end, before)),
            ]

    def _now(self) -> Target:
        stack = self.stack
        return Target(template=stack.template, body=stack.body, parameters=stack.parameters)

    def _instant(self, at: datetime, part: float) -> datetime:
        return at + timedelta(seconds=self.span_s * part)

    def _failure(self) -> str:
        if self.fate in ("fails", "rollback-fails"):
            return "Resource handler returned message: the sandbox made this update fail"
        return NO_KEY if missing_artifacts(self.stack, self.target.template, self.moto) else ""

    def _changed(self) -> list[str]:
        old, new = self.stack.template["Resources"], self.target.template["Resources"]
        return [name for name in new if old.get(name) != new[name]]

    def _verb(self, name: str) -> str:
        return "UPDATE" if name in self.stack.template["Resources"] else "CREATE"

    def _work(self, at: datetime) -> None:
        for name in self._changed():
            status = f"{self._verb(name)}_IN_PROGRESS"
            resource = self.target.template["Resources"][name]
            self.stack.say_resource(at, name, resource, status, self.token, "")

    def _end(self, at: datetime) -> None:
        """The new code is live from here on; what the template dropped goes in the clean-up."""
        stack, target = self.stack, self.target
        changed = {name: self._verb(name) for name in self._changed()}
        dropped = {
            name: resource
            for name, resource in stack.template["Resources"].items()
            if name not in target.template["Resources"]
        }
        if self.fate != "false-success":
            kept = {**target.template["Resources"], **dropped}
            self._bring_to({**target.template, "Resources": kept}, at)
        for name, verb in changed.items():
            resource = target.template["Resources"][name]
            stack.say_resource(at, name, resource, f"{verb}_COMPLETE", self.token, "")
        settle(stack, target)
        stack.say(at, "UPDATE_COMPLETE_CLEANUP_IN_PROGRESS", self.token)
        left = timedelta(seconds=self.span_s * 0.15)
        stack.plan([(at + left, lambda end: self._clean_up(end, dropped))])

    def _bring_to(self, template: Template, at: datetime) -> None:
        resources = self.stack.resources
        last = [n for n, one in template["Resources"].items() if one["Type"] == FUNCTION][-1:]
        name = template["Resources"][last[0]]["Properties"]["FunctionName"] if last else ""
        function = self.moto.function(resources.region, name)
        keeps = dict(vars(function)) if function and self.fate == "half-success" else {}
        resources.bring_to(template, self.target.parameters, at)
        for attribute in keeps.keys() & CODE:
            setattr(function, attribute, keeps[attribute])

    def _clean_up(self, at: datetime, dropped: Template) -> None:
        stack = self.stack
        if self.fate != "false-success":
            stack.resources.bring_to(self.target.template, self.target.parameters, at)
        for name, resource in dropped.items():
            status = "DELETE_SKIPPED" if retained(resource) else "DELETE_COMPLETE"
            stack.say_resource(at, name, resource, status, self.token, "")
        stack.say(at, "UPDATE_COMPLETE", self.token)

    def _fail(self, at: datetime) -> None:
        self._work(at)
        name = self._first_function()
        resource = self.target.template["Resources"][name]
        status = f"{self._verb(name)}_FAILED"
        self.stack.say_resource(at, name, resource, status, self.token, self._failure())
        reason = f"The following resource(s) failed to update: [{name}]. "
        self.stack.say(at, "UPDATE_ROLLBACK_IN_PROGRESS", self.token, reason)

    def _first_function(self) -> str:
        resources = self.target.template["Resources"]
        changed = self._changed() or list(resources)
        functions = [name for name in changed if resources[name]["Type"] == FUNCTION]
        return (functions or changed)[0]

    def _roll_back(self, at: datetime, before: Target) -> None:
        self.stack.submitted = ""
        lost = missing_artifacts(self.stack, before.template, self.moto)
        roll_back(self.stack, before, at, self.token, fails=lost or self.fate == "rollback-fails")

    def _serve_for_a_while(self, at: datetime) -> None:
        before = self._now()
        self._work(at)
        self.stack.resources.bring_to(self.target.template, self.target.parameters, at)
        alarm = at + timedelta(seconds=self.span_s * 2)
        self.stack.plan(
            [
                (alarm, self._alarm),
                (alarm + timedelta(seconds=1), lambda end: self._roll_back(end, before)),
            ]
        )

    def _alarm(self, at: datetime) -> None:
        reason = "Rollback triggers: an alarm went to state ALARM"
        self.stack.say(at, "UPDATE_ROLLBACK_IN_PROGRESS", self.token, reason)


def roll_back(stack: Stack, before: Target, at: datetime, token: str, *, fails: bool) -> None:
    """End an update by going back to what was before, or by getting stuck on the way."""
    if fails:
        stack.stuck_on = before
        names = [n for n, r in before.template["Resources"].items() if r["Type"] == FUNCTION]
        reason = f"The following resource(s) failed to update: [{', '.join(names)}]. "
        stack.say(at, "UPDATE_ROLLBACK_FAILED", token, reason)
        return
    stack.stuck_on = None
    stack.resources.bring_to(before.template, before.parameters, at)
    stack.say(at, "UPDATE_ROLLBACK_COMPLETE_CLEANUP_IN_PROGRESS", token)
    stack.say(at, "UPDATE_ROLLBACK_COMPLETE", token)


def settle(stack: Stack, target: Target) -> None:
    """Make the target's template, parameters and tags the stack's own."""
    stack.template, stack.body, stack.submitted = target.template, target.body, ""
    stack.parameters = target.parameters
    stack.capabilities = target.capabilities or stack.capabilities
    if target.tags is not None:
        stack.tags = target.tags
    if target.topics is not None:
        stack.topics = target.topics


def missing_artifacts(stack: Stack, template: Template, moto: MotoServer) -> bool:
    """Whether Lambda would not find the code of one of the template's functions."""
    for resource in template["Resources"].values():
        if resource["Type"] != FUNCTION:
            continue
        code = stack.resources.resolved(resource["Properties"]["Code"])
        if "S3Key" in code and moto.object(code["S3Bucket"], code["S3Key"]) is None:
            return True
    return False
