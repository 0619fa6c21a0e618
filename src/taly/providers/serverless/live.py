"""What a stack serves right now: its template and the functions that Lambda really runs."""

import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from taly.model.release import Confidence, Evidence, State
from taly.providers.serverless import template as templates
from taly.providers.serverless.aws_reads import AwsReads, at_once
from taly.providers.serverless.template import Function, Template

STUCK = "UPDATE_ROLLBACK_FAILED"
UPDATABLE = frozenset(
    {
        "CREATE_COMPLETE",
        "UPDATE_COMPLETE",
        "UPDATE_ROLLBACK_COMPLETE",
        "IMPORT_COMPLETE",
        "IMPORT_ROLLBACK_COMPLETE",
    }
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Live:
    """The stack's template beside what Lambda says of each function."""

    template: Template
    functions: Mapping[str, Mapping[str, Any]]
    """Logical id → configuration; empty where the function does not exist."""

    @property
    def code(self) -> str:
        """The digest over the CodeSha256 of every function whose code is kept as an artifact."""
        return templates.code_digest(
            {
                one.logical: _sha(self.functions.get(one.logical, {}))
                for one in templates.functions(self.template)
                if one.artifact or one.image_sha
            }
        )

    def drifted(self) -> tuple[str, ...]:
        """Environment names that differ between template and Lambda: set in the console."""
        names: set[str] = set()
        for one in templates.functions(self.template):
            said = self.functions.get(one.logical, {})
            real = said.get("Environment", {}).get("Variables", {})
            names |= {f"{one.label}.{name}" for name in _differing(one, real)}
        return tuple(sorted(names))


def read_live(reads: AwsReads, stack: str, template: Template, names: Mapping[str, str]) -> Live:
    """Ask Lambda for every function of the template. `names`: logical id → physical name."""
    declared = templates.functions(template)
    said = at_once(lambda one: reads.function(one.name or names.get(one.logical, "")), declared)
    return Live(
        template=template,
        functions={one.logical: answer for one, answer in zip(declared, said, strict=True)},
    )


def physical_names(reads: AwsReads, stack: str, template: Template) -> Mapping[str, str]:
    """Physical names of functions that the template leaves unnamed; asks only if there are any."""
    if all(one.name for one in templates.functions(template)):
        return {}
    return reads.resources(stack).names


def readiness(status: str) -> str:
    """The stack's status as a step needs it: ready, stuck, busy or blocked."""
    if status in UPDATABLE:
        return "ready"
    if status == STUCK:
        return "stuck"
    if status.endswith("_IN_PROGRESS") and status != "REVIEW_IN_PROGRESS":
        return "busy"
    return "blocked"


def state_of(live: Live, status: str, prefix: str) -> State:
    """The component's absolute state."""
    return {
        "directory": templates.directory_of(live.template, prefix),
        "code": live.code,
        "template": templates.digest(live.template),
        "stack": readiness(status),
    }


def evidence(
    now: Callable[[], datetime], call: str, says: str, confidence: Confidence = Confidence.EXACT
) -> Evidence:
    """One piece of evidence, dated now."""
    return Evidence(call=call, at=now(), says=says, confidence=confidence)


def _sha(configuration: Mapping[str, Any]) -> str:
    return str(configuration.get("CodeSha256", "absent"))


def _differing(function: Function, real: Mapping[str, str]) -> set[str]:
    """Names whose literal value differs; references cannot be compared and are left out."""
    declared = function.environment
    literal = {name: value for name, value in declared.items() if not isinstance(value, Mapping)}
    changed = {
        name
        for name, value in literal.items()
        if "{{resolve:" not in str(value)
        and (name not in real or templates.as_told(_text(value)) != templates.as_told(real[name]))
    }
    return changed | (real.keys() - declared.keys())


def _text(value: Any) -> str:
    """A value as CloudFormation hands it to Lambda."""
    return json.dumps(value) if isinstance(value, bool | int | float) else str(value)
