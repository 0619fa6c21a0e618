"""The one write: UpdateService with the whole SourceConfiguration as just described.

What is decided here, before it is sent: the identifier. A tag is used only while it means exactly
the image that is to serve; otherwise the image is named by its digest.
"""

import copy
from collections.abc import Mapping
from typing import Any

from taly.aws import AwsClients, aws_errors
from taly.errors import VendorRefused
from taly.model.plan import Step
from taly.providers.apprunner import configuration
from taly.providers.apprunner.facts import Look
from taly.providers.apprunner.identifiers import (
    Identifier,
    by_digest,
    own_tag,
    parse_identifier,
    short_digest,
)
from taly.providers.apprunner.reading import Reader


def require_running(look: Look) -> None:
    """Refuse to send anything unless the service is at rest and runs."""
    if look.status == "RUNNING" and look.at_rest:
        return
    if look.status == "PAUSED":
        raise VendorRefused(
            "the App Runner service is paused; nothing was sent",
            reference="service-paused",
            hint=f"aws apprunner resume-service --service-arn {look.service['ServiceArn']}",
        )
    if not look.at_rest:
        raise VendorRefused(
            "another operation runs on the App Runner service; nothing was sent",
            reference="operation-in-flight",
            hint="taly status",
        )
    raise VendorRefused(
        f"the App Runner service is {look.status}; nothing was sent",
        reference="service-not-running",
        hint="taly status",
    )


def require_image(step: Step, live: str) -> None:
    """Refuse to hold or give back auto-deploys around another image than the step was made for."""
    if "identifier" in step.wanted or "image" not in step.wanted or not live:
        return
    if live != parse_identifier(str(step.wanted["image"])).digest:
        raise VendorRefused(
            f"another image serves now ({short_digest(live)}); nothing was sent",
            reference="image-changed",
            hint="taly plan",
        )


def chosen_identifier(step: Step, look: Look, live: str, reader: Reader) -> str:
    """The identifier to send; `live` is the digest that serves (empty when ambiguous)."""
    described = look.identifier
    if "identifier" in step.wanted:
        digest = parse_identifier(str(step.wanted["image"])).digest
        return _tag_or_digest(parse_identifier(str(step.wanted["identifier"])), digest, reader)
    if not step.wanted.get("auto_deploy") and described.digest:
        return look.identifier_text
    if not live:
        raise VendorRefused(
            "it is not certain which image serves, and this change would deploy the tag anew; "
            "nothing was sent",
            reference="live-image-ambiguous",
            hint="taly status",
        )
    tracked = step.address.get("tracking") or str(described)
    return _tag_or_digest(parse_identifier(tracked), live, reader)


def send_update(
    clients: AwsClients, region: str, reader: Reader, look: Look, identifier: str, auto: bool
) -> dict[str, str]:
    """Send it, once; the receipt.

    Where App Runner refuses a digest, the image gets a tag of its own in ECR first. That is a
    second write and the only exception to one write a step; doing it again changes nothing.
    """
    try:
        return _update(clients, region, look, identifier, auto)
    except VendorRefused as error:
        target = parse_identifier(identifier)
        if error.reference != "aws-invalid-request-exception" or not target.digest:
            raise
        tagged = _retag(clients, region, reader, target)
        return _update(clients, region, look, tagged, auto)


def _update(
    clients: AwsClients, region: str, look: Look, identifier: str, auto: bool
) -> dict[str, str]:
    source: dict[str, Any] = copy.deepcopy(dict(look.source))
    source["ImageRepository"]["ImageIdentifier"] = identifier
    source["AutoDeploymentsEnabled"] = auto
    with aws_errors("apprunner:UpdateService"):
        client = clients.client("apprunner", region, attempts=1)
        answer: Mapping[str, Any] = client.update_service(
            ServiceArn=look.service["ServiceArn"], SourceConfiguration=source
        )
    receipt = {
        "identifier": identifier,
        "names": configuration.names(look.source),
        "remainder": configuration.remainder(look.service),
    }
    if operation := answer.get("OperationId"):
        receipt["operation"] = str(operation)
    return receipt


def _retag(clients: AwsClients, region: str, reader: Reader, target: Identifier) -> str:
    image = reader.manifest(target, target.digest)
    if not image:
        raise VendorRefused(
            f"image {short_digest(target.digest)} is no longer in ECR; nothing was sent",
            reference="target-gone",
            hint="taly releases",
        )
    tag = own_tag(target.digest)
    media = image.get("imageManifestMediaType")
    try:
        with aws_errors("ecr:PutImage"):
            clients.client("ecr", region, attempts=1).put_image(
                **target.in_ecr,
                imageManifest=image["imageManifest"],
                imageTag=tag,
                imageDigest=target.digest,
                **({"imageManifestMediaType": media} if media else {}),
            )
    except VendorRefused as error:
        if error.reference != "aws-image-already-exists-exception":
            raise
    return f"{target.repository}:{tag}"


def _tag_or_digest(wanted: Identifier, digest: str, reader: Reader) -> str:
    if wanted.tag and reader.tag_digest(wanted) == digest:
        return str(wanted)
    return by_digest(wanted.repository, digest)
