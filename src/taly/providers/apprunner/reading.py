"""Everything that is asked of AWS, read only, as the plain data of `facts`."""

import json
import time
from collections.abc import Iterable, Iterator, Mapping
from datetime import datetime, timedelta
from typing import Any

from taly.aws import AwsClients, aws_errors
from taly.errors import UsageError, VendorRefused
from taly.model.ports import Clock
from taly.providers.apprunner.facts import Image, Look, Operation, Push, Records, Update
from taly.providers.apprunner.identifiers import Identifier

HISTORY = timedelta(days=90)
"""How far back CloudTrail's event history goes."""
OPERATIONS_A_PAGE = 20
EVENTS_A_PAGE = 50
EVENTS_S = 12.0
"""Real seconds for which one kind of event is read, newest first: a busy account pushes tens of
thousands of images in 90 days, at two pages a second. What is older is inferred."""
ATTEMPTS = {"cloudtrail": 7}
"""LookupEvents takes two requests a second from a whole account, and each service needs three."""
DENIED = ("aws-access-denied", "aws-access-denied-exception", "aws-403")
NAMES, NAME = 30, 60
"""How many services an error lists, and characters of one; App Runner's have at most 40."""
MANIFESTS = [
    "application/vnd.docker.distribution.manifest.v2+json",
    "application/vnd.docker.distribution.manifest.list.v2+json",
    "application/vnd.oci.image.manifest.v1+json",
    "application/vnd.oci.image.index.v1+json",
]


def _listed(names: Iterable[str]) -> str:
    """Names for a message: as many as somebody reads, and how many more there are."""
    every = sorted(names)
    shown = [one if len(one) <= NAME else f"{one[:NAME]}…" for one in every[:NAMES]]
    more = len(every) - len(shown)
    return ", ".join([*shown, f"and {more} more"] if more else shown)


class Reader:
    """One region's App Runner, ECR and CloudTrail, as far as they only answer questions."""

    def __init__(self, clients: AwsClients, region: str, clock: Clock) -> None:
        self._clients = clients
        self._region = region
        self._clock = clock
        self._cut: set[str] = set()
        """Kinds of events of which there are more than were read."""

    def ask(self, service: str, operation: str, **request: Any) -> Mapping[str, Any]:
        """One call; errors as taly's own. The name is boto3's: `describe_service`."""
        words = "".join(word.capitalize() for word in operation.split("_"))
        with aws_errors(f"{service}:{words}"):
            client = self._clients.client(service, self._region, attempts=ATTEMPTS.get(service, 4))
            answer: Mapping[str, Any] = getattr(client, operation)(**request)
        return answer

    def find(self, name: str) -> str:
        """The ARN of the service of that name (API: ListServices); UsageError if there is none."""
        if name.startswith("arn:"):
            return name
        known: list[str] = []
        for page in self._pages("apprunner", "list_services", "NextToken"):
            for service in page["ServiceSummaryList"]:
                if service.get("Status") == "DELETED":
                    continue  # listed for a while yet, and its name may be another's already
                if service.get("ServiceName") == name:
                    return str(service["ServiceArn"])
                known.append(str(service.get("ServiceName")))
        raise UsageError(
            f"App Runner has no service {name!r} in {self._region or 'this region'}; "
            f"there are: {_listed(known) or 'none'}",
            reference="service-unknown",
            hint="taly init",
        )

    def look(self, arn: str, *, since: datetime | None = None) -> Look:
        """The service and its operations (API: DescribeService, ListOperations).

        `since`: operations that started before need not be listed; the last that deployed is.
        """
        # operations first: what ends in between shows as under way and is looked at once more
        operations = tuple(self._operations(arn, since or self._clock.now() - HISTORY))
        service = self.ask("apprunner", "describe_service", ServiceArn=arn)["Service"]
        return Look(at=self._clock.now(), service=service, operations=operations)

    def records(self, arn: str, identifier: Identifier) -> Records:
        """CloudTrail's events and ECR's images; what may not be read becomes a note."""
        notes: list[str] = []
        updates: tuple[Update, ...] = ()
        pushes: tuple[Push, ...] = ()
        images: dict[str, Image] = {}
        try:
            updates = tuple(sorted(self._updates(arn), key=lambda one: one.at))
            pushes = tuple(sorted(self._pushes(identifier), key=lambda one: one.at))
        except VendorRefused as error:
            notes.append(f"CloudTrail cannot be read ({error.reference}): history is inferred")
        if self._cut:
            kinds = ", ".join(sorted(self._cut))
            notes.append(
                f"CloudTrail has more events ({kinds}) than were read: old history is inferred"
            )
        try:
            images = {image.digest: image for image in self._images(identifier)}
        except VendorRefused as error:
            notes.append(f"ECR cannot be read ({error.reference}): images cannot be checked")
        return Records(updates=updates, pushes=pushes, images=images, notes=tuple(notes))

    def missing(self, identifier: Identifier, digests: Iterable[str]) -> dict[str, str]:
        """Digest → why ECR has it no more (API: BatchGetImage, which reports and never raises)."""
        wanted = sorted({digest for digest in digests if digest})
        found: dict[str, str] = {}
        for start in range(0, len(wanted), 100):
            ids = [{"imageDigest": digest} for digest in wanted[start : start + 100]]
            for failure in self._batch_get(identifier, ids).get("failures", []):
                digest = failure.get("imageId", {}).get("imageDigest", "")
                found[digest] = str(failure.get("failureCode", "ImageNotFound"))
        return found

    def tag_digest(self, identifier: Identifier) -> str:
        """The digest that a tag means at this moment; empty when the tag is gone."""
        images = self._batch_get(identifier, [{"imageTag": identifier.tag}]).get("images", [])
        return str(images[0]["imageId"]["imageDigest"]) if images else ""

    def manifest(self, identifier: Identifier, digest: str) -> Mapping[str, Any]:
        """An image as BatchGetImage gives it, manifest included; empty when it is gone."""
        images = self._batch_get(identifier, [{"imageDigest": digest}]).get("images", [])
        return images[0] if images else {}

    def lifecycle_policy(self, identifier: Identifier) -> str:
        """The repository's lifecycle policy; empty when there is none or it may not be read."""
        try:
            answer = self.ask("ecr", "get_lifecycle_policy", **identifier.in_ecr)
        except VendorRefused:
            return ""
        return str(answer.get("lifecyclePolicyText", ""))

    def may_read_trail(self) -> None:
        """Ask CloudTrail for one event: raises what forbids it."""
        self.ask("cloudtrail", "lookup_events", MaxResults=1)

    def _batch_get(self, identifier: Identifier, ids: list[dict[str, str]]) -> Mapping[str, Any]:
        return self.ask(
            "ecr",
            "batch_get_image",
            imageIds=ids,
            acceptedMediaTypes=MANIFESTS,
            **identifier.in_ecr,
        )

    def _pages(
        self, service: str, operation: str, token: str, **request: Any
    ) -> Iterator[Mapping[str, Any]]:
        """All pages; `token` is the member's name, which differs in its first letter."""
        more: dict[str, str] = {}
        while True:
            page = self.ask(service, operation, **request, **more)
            yield page
            if not page.get(token):
                return
            more = {token: page[token]}

    def _operations(self, arn: str, since: datetime) -> Iterator[Operation]:
        """Newest first, back to `since` and to the last one that deployed, whichever is older."""
        has_deployed = False
        pages = self._pages(
            "apprunner",
            "list_operations",
            "NextToken",
            ServiceArn=arn,
            MaxResults=OPERATIONS_A_PAGE,
        )
        for page in pages:
            oldest = since
            for summary in page.get("OperationSummaryList", []):
                operation = _operation(summary)
                has_deployed = has_deployed or operation.deployed
                oldest = operation.started_at
                yield operation
            if has_deployed and oldest < since:
                return

    def _events(self, name: str) -> Iterator[tuple[datetime, Mapping[str, Any]]]:
        until = time.monotonic() + EVENTS_S
        pages = self._pages(
            "cloudtrail",
            "lookup_events",
            "NextToken",
            LookupAttributes=[{"AttributeKey": "EventName", "AttributeValue": name}],
            StartTime=self._clock.now() - HISTORY,
            MaxResults=EVENTS_A_PAGE,
        )
        for page in pages:
            for event in page.get("Events", []):
                yield event["EventTime"], json.loads(event.get("CloudTrailEvent", "{}"))
            if page.get("NextToken") and time.monotonic() > until:
                self._cut.add(name)
                return

    def _updates(self, arn: str) -> Iterator[Update]:
        for name in ("UpdateService", "CreateService"):
            if self._cut:
                return  # the creation would pass for the last word before a gap
            for at, record in self._events(name):
                if record.get("eventSource") == "apprunner.amazonaws.com":  # ECS has them too
                    update = _update(arn, at, record)
                    if update:
                        yield update

    def _pushes(self, identifier: Identifier) -> Iterator[Push]:
        for at, record in self._events("PutImage"):
            answer = (record.get("responseElements") or {}).get("image", {})
            image = answer.get("imageId", {})
            request = record.get("requestParameters") or {}
            said = {**identifier.in_ecr, "repositoryName": "", **request, **answer}
            if image and all(said[key] == value for key, value in identifier.in_ecr.items()):
                yield Push(
                    at=at, tag=image.get("imageTag", ""), digest=image.get("imageDigest", "")
                )

    def _images(self, identifier: Identifier) -> Iterator[Image]:
        pages = self._pages("ecr", "describe_images", "nextToken", **identifier.in_ecr)
        for page in pages:
            for detail in page.get("imageDetails", []):
                yield Image(
                    digest=detail["imageDigest"],
                    tags=tuple(sorted(detail.get("imageTags", ()))),
                    pushed_at=detail.get("imagePushedAt"),
                )


def _operation(summary: Mapping[str, Any]) -> Operation:
    return Operation(
        id=str(summary.get("Id", "")),
        type=str(summary.get("Type", "")),
        status=str(summary.get("Status", "")),
        started_at=summary["StartedAt"],
        ended_at=summary.get("EndedAt"),
    )


def _update(arn: str, at: datetime, record: Mapping[str, Any]) -> Update | None:
    """An Update of this service; None for another's, and for a call that was refused."""
    request = record.get("requestParameters") or {}
    answer = record.get("responseElements") or {}
    named = request.get("serviceArn") or answer.get("service", {}).get("serviceArn")
    if named != arn or record.get("errorCode"):
        return None
    repository = request.get("sourceConfiguration", {}).get("imageRepository", {})
    return Update(
        at=at,
        operation_id=str(answer.get("operationId", "")),
        identifier=str(repository.get("imageIdentifier", "")),
    )
