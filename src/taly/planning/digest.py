"""The plan's digest: what is run is exactly what was shown."""

import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, replace
from hashlib import sha256

from taly.model.plan import Plan, Step


def digest(plan: Plan) -> str:
    """sha256, in hex, over what the plan does.

    Times, forecasts, findings and prose are left out: the same change of the same platform has the
    same digest whenever, and from whichever order of inputs, it was planned.
    """
    does = {
        "environment": plan.environment,
        "purpose": plan.purpose,
        "target": [plan.to_release, plan.to_content_id],
        "on_failure": plan.on_failure,
        "components": [
            [part.component, part.disposition.value, part.to_deployment] for part in plan.components
        ],
        "steps": [_step(step) for step in plan.steps],
    }
    canonical = json.dumps(does, sort_keys=True, separators=(",", ":"), ensure_ascii=False)
    return sha256(canonical.encode("utf-8", "surrogatepass")).hexdigest()


def sealed(plan: Plan) -> Plan:
    """The plan with its digest filled in."""
    return replace(plan, digest=digest(plan))


def is_intact(plan: Plan) -> bool:
    """Whether the plan still is what its digest says: a plan file may have been edited."""
    return plan.digest == digest(plan)


def _step(step: Step) -> Sequence[object]:
    health = None if step.health is None else _plain(asdict(step.health))
    return (
        step.id,
        step.kind.value,
        step.component,
        step.provider,
        _plain(step.address),
        _plain(step.before),
        _plain(step.wanted),
        step.needs,
        health,
        step.deadline_s,
    )


def _plain(mapping: Mapping[str, object]) -> dict[str, object]:
    return {
        key: _plain(value) if isinstance(value, Mapping) else value
        for key, value in mapping.items()
    }
