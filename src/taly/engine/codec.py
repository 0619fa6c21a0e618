"""Plans and events as JSON text and back: strict on the way in, and never anything but data.

pydantic is imported when first something is read or written: commands that do neither stay quick.
"""

from dataclasses import dataclass
from functools import cache
from typing import TYPE_CHECKING, Annotated, ClassVar

from taly.errors import UsageError
from taly.model.events import Act, Event
from taly.model.plan import Plan

if TYPE_CHECKING:
    from pydantic import TypeAdapter

FORMAT_VERSION = 1
"""Of the JSON; within one version fields are only added."""
MAX_PLAN_BYTES = 64 * 1024 * 1024
"""A plan of 1,000 components takes about 3 MB."""


@dataclass(frozen=True, kw_only=True)
class _PlanFile:
    """What a plan file holds. Dataclasses within follow this configuration."""

    __pydantic_config__: ClassVar = {"extra": "forbid", "allow_inf_nan": False}

    format_version: int
    plan: Plan


def plan_to_json(plan: Plan) -> str:
    """The plan as JSON text with its `format_version`."""
    file = _PlanFile(format_version=FORMAT_VERSION, plan=plan)
    return _plan_adapter().dump_json(file).decode()


def plan_from_json(text: str | bytes) -> Plan:
    """The plan in this text; UsageError `plan-unreadable` if it holds anything else."""
    if len(text) > MAX_PLAN_BYTES:
        raise _unreadable(f"it is longer than {MAX_PLAN_BYTES // 2**20} MB")
    file = _parse(text)
    if file.format_version != FORMAT_VERSION:
        raise _unreadable(
            f"its format_version is {file.format_version}, this taly reads {FORMAT_VERSION}"
        )
    _check_order(file.plan)
    return file.plan


def event_to_json(event: Event) -> str:
    """The event as JSON text."""
    return _event_adapter().dump_json(event).decode()


def event_from_json(text: str) -> Event:
    """The event in this text, as the store keeps it."""
    return _event_adapter().validate_json(text)


def act_to_json(act: Act) -> str:
    """The act as JSON text."""
    return _act_adapter().dump_json(act).decode()


def act_from_json(text: str) -> Act:
    """The act in this text, as the store keeps it."""
    return _act_adapter().validate_json(text)


def _parse(text: str | bytes) -> _PlanFile:
    from pydantic import ValidationError

    try:
        return _plan_adapter().validate_json(text)
    except ValidationError as error:
        first = error.errors(include_input=False, include_url=False)[0]
        where = ".".join(str(part) for part in first["loc"]) or "the whole file"
        more = f" (and {error.error_count() - 1} more)" if error.error_count() > 1 else ""
        raise _unreadable(f"{where}: {first['msg']}{more}") from None


def _check_order(plan: Plan) -> None:
    """Every step must stand after those it needs: then there is no cycle and no dangling name."""
    known: set[str] = set()
    for step in plan.steps:
        if step.id in known:
            raise _unreadable(f"step {step.id!r} stands in it twice")
        for need in step.needs:
            if need not in known:
                raise _unreadable(f"step {step.id!r} needs {need!r}, which does not stand before")
        known.add(step.id)


def _unreadable(why: str) -> UsageError:
    return UsageError(
        f"this is no plan that taly can read: {why}",
        reference="plan-unreadable",
        hint="taly plan -o plan.json",
    )


@cache
def _plan_adapter() -> "TypeAdapter[_PlanFile]":
    from pydantic import TypeAdapter

    return TypeAdapter(_PlanFile)


@cache
def _event_adapter() -> "TypeAdapter[Event]":
    from pydantic import ConfigDict, Field, TypeAdapter

    told_apart = Annotated[Event, Field(discriminator="kind")]
    return TypeAdapter(told_apart, config=ConfigDict(extra="forbid", allow_inf_nan=False))


@cache
def _act_adapter() -> "TypeAdapter[Act]":
    from pydantic import ConfigDict, TypeAdapter

    return TypeAdapter(Annotated[Act, ConfigDict(extra="forbid")])
