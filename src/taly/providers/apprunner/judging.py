"""What a service's state means for a step: wanted, under way, something else, or failed. Pure."""

from collections.abc import Mapping
from datetime import timedelta

from taly.model.plan import Step
from taly.model.ports import Attempt, Failed, InFlight
from taly.model.release import Evidence, State
from taly.providers.apprunner import configuration
from taly.providers.apprunner.facts import DEPLOYING, Look, Operation
from taly.providers.apprunner.identifiers import canonical, parse_identifier, short_digest

SKEW = timedelta(seconds=2)
"""An operation may seem to have started so much before we sent its request."""
WHY = {
    "FAILED": "the deployment failed",
    "ROLLBACK_FAILED": "the deployment failed, and so did App Runner's return from it",
    "ROLLBACK_SUCCEEDED": "App Runner rolled it back by itself; what served before serves again",
}


def own_operation(look: Look, attempt: Attempt | None) -> Operation | None:
    """The operation that our write began: by its id, else the first update since our intent.

    The id can be missing from the reply (aws-sdk#226), or the whole reply lost.
    """
    if attempt is None:
        return None
    wanted = attempt.receipt.get("operation") or attempt.receipt.get("adopted")
    if wanted:
        return next((one for one in look.operations if one.id == wanted), None)
    since = [
        one
        for one in look.operations
        if one.type == "UPDATE_SERVICE" and one.started_at >= attempt.intended_at - SKEW
    ]
    return since[-1] if since else None


def under_way(step: Step, look: Look, own: Operation | None, now_tagged: str) -> InFlight | None:
    """What is in flight; `now_tagged` is the digest that the desired tag means now."""
    if look.at_rest:
        return None
    operation = look.in_flight
    evidence = (seen(look),)
    if operation is None:
        return InFlight(
            operation="maintenance",
            same_target=False,
            evidence=evidence,
            what="AWS itself works on the service",
        )
    mine = own is not None and operation.id == own.id
    what = _in_words(operation, look)
    reverting = operation.status == "ROLLBACK_IN_PROGRESS"
    same = not reverting and (mine or leads_to(step.wanted, look, operation, now_tagged))
    return InFlight(operation=operation.id, same_target=same, evidence=evidence, what=what)


def leads_to(wanted: State, look: Look, operation: Operation, now_tagged: str) -> bool:
    """Whether an operation under way, by whomever, ends in what the step wants."""
    if operation.type != "UPDATE_SERVICE":
        return False
    if "auto_deploy" in wanted and wanted["auto_deploy"] != look.auto_deploy:
        return False
    if "image" not in wanted:
        return "auto_deploy" in wanted
    return desired_digest(look, now_tagged) == parse_identifier(str(wanted["image"])).digest


def desired_digest(look: Look, now_tagged: str) -> str:
    """The digest to which the described identifier leads, as far as can be said now."""
    return look.identifier.digest or now_tagged


def ended_badly(own: Operation | None, look: Look) -> Failed | None:
    """Our own operation ended without success; RUNNING says nothing about that."""
    if own is None or own.unfinished or own.status == "SUCCEEDED":
        return None
    why = WHY.get(own.status, "an end that taly does not know")
    took = f" after {_minutes(own)}" if own.ended_at else ""
    return Failed(reason=f"{own.type} ended {own.status}{took}: {why}", evidence=(seen(look),))


def left_half_way(look: Look) -> Failed | None:
    """The last deployment failed and could not be reverted: then nobody knows what serves."""
    last = next((one for one in look.operations if one.type in DEPLOYING), None)
    return ended_badly(last, look) if last and last.status == "ROLLBACK_FAILED" else None


def changed_besides(attempt: Attempt | None, look: Look, sent: str) -> str:
    """What our update changed that it should not have; empty when nothing is known to have.

    `sent` is the salted fingerprint of everything at our write, if this process made it.
    """
    receipt: Mapping[str, str] = attempt.receipt if attempt else {}
    if "names" not in receipt:
        return ""
    lost = configuration.lost_names(receipt["names"], look.source)
    if lost:
        return f"the update removed configuration: {', '.join(lost)}"
    if receipt["names"] != configuration.names(look.source):
        return "the names of the service's variables changed meanwhile"
    if receipt.get("remainder") != configuration.remainder(look.service):
        return "port, secrets, health check, instance or network settings changed meanwhile"
    if sent and sent != configuration.whole(look.service):
        return "the value of a variable or a start command changed meanwhile"
    return ""


def same_identifier(described: str, wanted: str, digest: str, now_tagged: str) -> bool:
    """Whether the identifier is as wanted: also by digest, where the wanted tag has moved away.

    `digest` is what serves, `now_tagged` what the wanted tag means now.
    """
    described = canonical(described, digest)
    if described == wanted:
        return True
    pinned = parse_identifier(described).digest == digest and bool(digest)
    return pinned and bool(parse_identifier(wanted).tag) and now_tagged != digest


def seen(look: Look) -> Evidence:
    """What was described."""
    auto = "on" if look.auto_deploy else "off"
    name = look.identifier_text.rpartition("/")[2]
    says = f"{look.status}, {name[:60]}, auto-deploy {auto}"
    return Evidence(call="apprunner:DescribeService", at=look.at, says=says)


def _in_words(operation: Operation, look: Look) -> str:
    if operation.status == "ROLLBACK_IN_PROGRESS":
        return "App Runner is reverting a failed deployment"
    target = look.identifier
    to = short_digest(target.digest) if target.digest else target.tag
    return f"{operation.type.lower().replace('_', ' ')} to {to}"


def _minutes(operation: Operation) -> str:
    assert operation.ended_at is not None, "it has ended"
    seconds = (operation.ended_at - operation.started_at).total_seconds()
    return f"{seconds // 60:.0f} min"
