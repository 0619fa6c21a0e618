"""A Serverless Framework service, read from the emulated CloudFormation, Lambda and S3."""

import copy
import json
from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from datetime import datetime
from typing import Any

from taly.model.plan import Plan
from taly.providers.serverless import template as templates
from taly.providers.serverless.changeset import REMOVES
from taly.sandbox.emulator import Deploy
from taly.sandbox.serverless.service import TEMPLATE_FILE
from taly.sandbox.serverless.stacks import UPDATABLE, Stack, Target
from taly.simulate.canaries import CANARY
from taly.simulate.real.part import RealPart, Seen
from taly.simulate.world import PERSON, Values

HOTFIX = "hotfix "
BY_HAND = "environment "
"""What people change past CloudFormation, in the place of a deployment to bring about."""
REGION = "eu-central-1"
ENDED = {
    "UPDATE_COMPLETE": False, "UPDATE_ROLLBACK_COMPLETE": True, "UPDATE_ROLLBACK_FAILED": True,
}  # fmt: skip
"""The stack's status at the end of an update → whether it failed."""
BEGINS = frozenset({"UPDATE_IN_PROGRESS", "UPDATE_ROLLBACK_IN_PROGRESS"})
STUCK = "UPDATE_ROLLBACK_FAILED"
TABLE = "AWS::DynamoDB::Table"
FAILS = ("update-fails", "update-fails", "failed-late", "rollback-fails")


def settings(random: Any) -> dict[str, Any]:
    """Of the emulated service: one to three functions, short updates or long ones."""
    return {
        "functions": ("api", "worker", "cron")[: random.choice((1, 2, 2, 3))],
        "commit_env": "COMMIT_SHA",
        "alias": random.choice(("", "", "live")),
        "update_s": random.choice((12.0, 30.0, 45.0)),
    }


def released(number: int) -> dict[str, Any]:
    """Settings of a release: a secret, rotated each time."""
    return {"environment": {"API_PASSWORD": f"{CANARY}{number}"}}


@dataclass(slots=True, eq=False)
class Lambdas(RealPart):
    """A stack and its functions."""

    codes: dict[str, str] = field(default_factory=dict)
    """Digest over the functions' code → the directory that holds it."""
    digests: dict[str, str] = field(default_factory=dict)
    """Body of a template → its digest."""
    alarms: set[datetime] = field(default_factory=set)
    """Instants at which it is looked at, because something happens by itself."""
    tables: frozenset[str] = frozenset()
    """The tables that the stack has."""
    deleted: list[str] = field(default_factory=list)
    """Tables that an update of taly's deleted."""

    @property
    def _service(self) -> Any:
        return self.emulator._services[self.name]

    @property
    def _cloud(self) -> Any:
        return self.emulator._cloud(REGION)

    @property
    def _stack(self) -> Stack:
        stack: Stack = self._cloud.stacks[self._service.stack]
        return stack

    @property
    def _functions(self) -> dict[str, Any]:
        """Physical name → moto's object."""
        moto = self.emulator._moto
        names = [one.name for one in templates.functions(self._stack.template)]
        found = {name: moto.function(REGION, name) for name in names}
        return {name: one for name, one in found.items() if one is not None}

    def truth(self) -> Values:
        """What the stack's template is, what code its functions run, and with what variables."""
        self.emulator._catch_up()
        stack, running = self._stack, self._functions
        self._learn()
        declared = templates.functions(stack.template)
        shas = {
            one.logical: running[one.name].code_sha_256 if one.name in running else "absent"
            for one in declared
        }
        drifted = any(
            one.name in running and running[one.name].environment_vars != dict(one.environment)
            for one in declared
        )
        return {
            "directory": templates.directory_of(stack.template, self._service.prefix),
            "code": templates.code_digest(shas),
            "template": self._digest(stack.body),
            "stack": _standing(stack.status),
            "drifted": drifted,
        }

    def _digest(self, body: str) -> str:
        if body not in self.digests:
            self.digests[body] = templates.digest(json.loads(body))
        return self.digests[body]

    def _learn(self) -> None:
        """The commit and the code of each directory."""
        for name in self._directories():
            if name not in self.commits and (template := self._template(name)) is not None:
                self.commits[name] = templates.commit_of(template)
                shas = templates.version_shas(template)
                self.codes[templates.code_digest(shas)] = name

    def _directories(self) -> list[str]:
        bucket = self.emulator._framework.bucket(self._service, self._stack)
        found: list[str] = self.emulator._framework.directories(self._service, bucket)
        return found

    def _template(self, directory: str) -> dict[str, Any] | None:
        bucket = self.emulator._framework.bucket(self._service, self._stack)
        body = self.emulator._moto.read(
            bucket, f"{self._service.prefix}{directory}/{TEMPLATE_FILE}"
        )
        return None if body is None else json.loads(body)

    @property
    def serves(self) -> str:
        """The directory whose code the functions run; two, or none, are no directory's."""
        return self.codes.get(str(self.state["code"]), "a code of its own")

    def fits(self, wanted: Values, state: Values) -> bool:
        """A service is at a directory only with the variables that its template names."""
        strange = "directory" in wanted and "drifted" not in wanted and state["drifted"]
        return not strange and all(state.get(key) == value for key, value in wanted.items())

    def differing(self, wanted: Values) -> list[str]:
        """What is not as wanted."""
        return [key for key in wanted if not self.fits({key: wanted[key]}, self.state)]

    def sync(self) -> None:
        """Also be there at each instant at which something happens by itself."""
        super(Lambdas, self).sync()
        resources, timeline = self._stack.template["Resources"], self.clock.timeline
        tables = frozenset(name for name, one in resources.items() if one["Type"] == TABLE)
        if self.operations and not self.operations[-1].is_foreign:
            self.deleted.extend(sorted(self.tables - tables))
        self.tables = tables
        for at, _ in self._stack.due:
            if at not in self.alarms:
                self.alarms.add(at)
                left = (at - self.clock.now()).total_seconds()
                timeline.after(max(0.0, left) + 0.001, self.sync)

    def unannounced(self, plan: Plan) -> list[str]:
        """Tables that taly deleted, and this plan does not say so."""
        said = " ".join(
            str(value)
            for step in plan.steps
            for key, value in step.address.items()
            if key.startswith(REMOVES)
        )
        gone, self.deleted = self.deleted, []
        return [one for one in gone if one not in said]

    def commit(self, *, old: bool) -> str:
        """What the first function is told that it is."""
        if old:
            return self.commits.get(self.first, "")
        self.sync()
        name = self._service.function_name(self._service.functions[0])
        return str(self._functions[name].environment_vars.get("COMMIT_SHA", ""))

    def under_way(self) -> Iterator[Seen]:
        """Its updates, and what finishes a stuck one."""
        found: Seen | None = None
        for event in self._stack.events:
            status = str(event["ResourceStatus"])
            if event["PhysicalResourceId"] != self._stack.id:
                continue
            if status in BEGINS and found is None:
                found = Seen(id=event["EventId"], start=event["Timestamp"], over=False)
                recovers = status != "UPDATE_IN_PROGRESS"
            elif status in ENDED and found is not None:
                bad = ENDED[status] is not recovers if status != STUCK else True
                yield replace(found, over=True, fails=bad)
                found = None
        if found is not None:
            yield found

    def copied(self) -> Any:
        """The stack as a record, and what Lambda says of each function."""
        stack = self._stack
        kept = replace(
            stack, events=list(stack.events), due=[], tokens=dict(stack.tokens),
            change_sets={name: copy.copy(one) for name, one in stack.change_sets.items()},
        )  # fmt: skip
        return kept, {name: dict(vars(one)) for name, one in self._functions.items()}

    def fresh(self, kept: Any) -> Any:
        """It is only read."""
        return kept

    def swapped(self, kept: Any) -> Any:
        """Another stack object, the functions' attributes exchanged."""
        stack, said = kept
        present = (
            self._stack,
            {name: dict(vars(one)) for name, one in self._functions.items() if name in said},
        )
        for name, one in self._functions.items():
            if name in said:
                vars(one).clear()
                vars(one).update(said[name])
        self._cloud.stacks[self._service.stack] = stack
        return present

    def deploy_by_hand(self, target: str) -> None:
        """UpdateStack to that directory's template, `deploy function`, or a variable set."""
        kind, _, name = target.partition(" ")
        if target.startswith((HOTFIX, BY_HAND)):
            change = {"kind": kind, "function": name, "name": "DEBUG", "value": "1"}
            self.emulator.change(self.name, change)
            return
        stack, template = self._stack, self._template(target)
        if template is None or stack.status not in UPDATABLE:
            raise LookupError
        body = json.dumps(template, ensure_ascii=False)
        self._cloud.start(stack, Target(template=template, body=body, parameters={}), fate="ok")

    def gone(self, target: str) -> None:
        """The artifact, the template or all of it, deleted from the bucket."""
        what = ("zip", "template", "all")[self.lags.randrange(3)]
        self.emulator.change(
            self.name, {"kind": "delete-artifact", "directory": target, "what": what}
        )

    def others(self) -> list[str]:
        """Directories of the bucket; and what people do past CloudFormation."""
        functions = self._service.functions
        past = [f"{HOTFIX}{functions[-1]}", f"{BY_HAND}{functions[0]}"]
        return [*(one for one in self._directories() if one != self.live), *past]

    def pushed(self, commit: str) -> None:
        """`serverless deploy`, by CI: no setting of the vendor's holds it, so somebody's wish."""
        number = int(commit[:7], 16)
        added = {"tables": [f"t{number}"]} if number % 3 == 0 else {}
        with self.changed_by(PERSON):
            deploy = Deploy(component=self.name, commit=commit, settings=added)
            self.emulator.deploy(deploy)

    def varied(self, fault: str) -> str:
        """An update fails in several ways."""
        return self.lags.choice(FAILS) if fault == FAILS[0] else fault


def _standing(status: str) -> str:
    """As the provider's steps call it; a clean-up goes on behind what serves already."""
    if status.endswith("_COMPLETE") or status.endswith("_CLEANUP_IN_PROGRESS"):
        return "ready"
    return "stuck" if status == STUCK else "busy"
