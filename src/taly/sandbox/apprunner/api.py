"""The App Runner API: checks a request as the service does, then hands it to the fleet.

AWS App Runner API reference; names and shapes are those of botocore's `apprunner` model.
"""

import copy
import re
import uuid
from collections.abc import Callable, Mapping
from datetime import datetime
from typing import Any

from taly.sandbox.apprunner.fleet import Fleet
from taly.sandbox.apprunner.service import BLOCKS, DEFAULTS, Blocks, Operation, Service
from taly.sandbox.awsjson import Action, AwsError, Result, camel_lower, page, without_none
from taly.sandbox.cloudtrail import Trail
from taly.sandbox.world import World

SOURCE = "apprunner.amazonaws.com"
PAGE = 20
IDENTIFIER = re.compile(
    r"([0-9]{12}.dkr.ecr.[a-z\-]+-[0-9]{1}.amazonaws.com\/((?:[a-z0-9]+(?:[._-][a-z0-9]+)*\/)*"
    r"[a-z0-9]+(?:[._-][a-z0-9]+)*)(:([\w\d+\-=._:\/@])+|@([\w\d\:]+))?)|(^public\.ecr\.aws\/.+)"
)
"""ImageIdentifier's pattern in the service model."""


class AppRunnerApi:
    """The operations by name. The caller holds the lock."""

    def __init__(
        self,
        world: World,
        fleet: Fleet,
        trail: Trail,
        *,
        make: Callable[[str, Mapping[str, Any], datetime], Service],
    ) -> None:
        """`make(name, blocks, at)` gives a new service its component, its URL and its ids."""
        self._make = make
        self._world = world
        self._fleet = fleet
        self._trail = trail
        self.actions: Mapping[str, Action] = {
            "CreateService": self._create_service,
            "DescribeService": self._describe_service,
            "ListServices": self._list_services,
            "UpdateService": self._update_service,
            "StartDeployment": self._start_deployment,
            "PauseService": self._pause_service,
            "ResumeService": self._resume_service,
            "DeleteService": self._delete_service,
            "ListOperations": self._list_operations,
            "ListTagsForResource": self._list_tags,
        }

    def create(self, service: Service, at: datetime, user: str = "ci") -> Operation:
        """Take a new service into the account and begin to deploy it."""
        self._fleet.services[service.arn] = service
        operation = self._fleet.begin(service, "CREATE_SERVICE", at=at)
        request = {"ServiceName": service.name, **service.blocks}
        self._record("CreateService", service, at, request, operation, user)
        return operation

    def update(
        self, service: Service, blocks: Mapping[str, Any], at: datetime, user: str
    ) -> Operation:
        """UpdateService with these top-level blocks; those left out keep their values."""
        _require(service, "RUNNING", "CREATE_FAILED")
        desired = self._desired(service, blocks)
        before, service.blocks = service.blocks, desired
        operation = self._fleet.begin(service, "UPDATE_SERVICE", at=at, before=before)
        request = {"ServiceArn": service.arn, **blocks}
        self._record("UpdateService", service, at, request, operation, user)
        return operation

    def deploy(self, service: Service, at: datetime, user: str) -> Operation:
        """StartDeployment: whatever the identifier means now."""
        _require(service, "RUNNING")
        operation = self._fleet.begin(service, "START_DEPLOYMENT", at=at)
        request = {"ServiceArn": service.arn}
        self._record("StartDeployment", service, at, request, operation, user)
        return operation

    def switch(self, service: Service, kind: str, at: datetime, user: str) -> Operation:
        """PAUSE_SERVICE, RESUME_SERVICE or DELETE_SERVICE."""
        allowed = {
            "PAUSE_SERVICE": ("RUNNING",),
            "RESUME_SERVICE": ("PAUSED",),
            "DELETE_SERVICE": ("RUNNING", "PAUSED", "CREATE_FAILED"),
        }
        _require(service, *allowed[kind])
        operation = self._fleet.begin(service, kind, at=at)
        name = f"{kind.removesuffix('_SERVICE').capitalize()}Service"
        self._record(name, service, at, {"ServiceArn": service.arn}, operation, user)
        return operation

    def service(self, body: Mapping[str, Any], key: str = "ServiceArn") -> Service:
        """The service that a request names."""
        arn = str(body.get(key, ""))
        if arn not in self._fleet.services:
            raise AwsError("ResourceNotFoundException", f"Service with the provided ARN: {arn}.")
        return self._fleet.services[arn]

    def _desired(self, service: Service, blocks: Mapping[str, Any]) -> Blocks:
        desired = copy.deepcopy(service.blocks)
        for name in BLOCKS:
            if name in blocks and name != "SourceConfiguration":
                # a sent map replaces the old one, it is not merged (roadmap #143)
                desired[name] = {**DEFAULTS.get(name, {}), **copy.deepcopy(blocks[name])}
        if "SourceConfiguration" in blocks:
            desired["SourceConfiguration"] = _source(service, blocks["SourceConfiguration"])
        return desired

    def _record(
        self,
        name: str,
        service: Service,
        at: datetime,
        request: Mapping[str, Any],
        operation: Operation,
        user: str,
    ) -> None:
        response = {"service": service.described(), "operationId": operation.id}
        self._trail.record(
            name,
            source=SOURCE,
            at=at,
            request=camel_lower(request),
            response=camel_lower(response),
            resources=(service.arn,),
            user=user,
        )

    def _create_service(self, body: Mapping[str, Any]) -> Result:
        name = str(body.get("ServiceName", ""))
        if any(one.name == name and not one.deleted_at for one in self._fleet.services.values()):
            raise AwsError("InvalidRequestException", f"Service with name {name} already exists.")
        if "ImageRepository" not in body.get("SourceConfiguration", {}):
            raise AwsError("InvalidRequestException", "Only image services are emulated.")
        now = self._world.clock.now()
        service = self._make(name, body, now)
        return self._operated(service, self.create(service, now, "operator"))

    def _describe_service(self, body: Mapping[str, Any]) -> Result:
        return Result(body={"Service": self.service(body).described()})

    def _list_services(self, body: Mapping[str, Any]) -> Result:
        listed = [one.summary() for one in self._fleet.services.values() if not one.deleted_at]
        return _page(body, "ServiceSummaryList", listed)

    def _update_service(self, body: Mapping[str, Any]) -> Result:
        service = self.service(body)
        blocks = {name: value for name, value in body.items() if name in BLOCKS}
        operation = self.update(service, blocks, self._world.clock.now(), "operator")
        return self._operated(service, operation)

    def _start_deployment(self, body: Mapping[str, Any]) -> Result:
        service = self.service(body)
        operation = self.deploy(service, self._world.clock.now(), "operator")
        return Result(body={"OperationId": operation.id}, wrote=True)

    def _pause_service(self, body: Mapping[str, Any]) -> Result:
        return self._switched(body, "PAUSE_SERVICE")

    def _resume_service(self, body: Mapping[str, Any]) -> Result:
        return self._switched(body, "RESUME_SERVICE")

    def _delete_service(self, body: Mapping[str, Any]) -> Result:
        return self._switched(body, "DELETE_SERVICE")

    def _switched(self, body: Mapping[str, Any], kind: str) -> Result:
        service = self.service(body)
        operation = self.switch(service, kind, self._world.clock.now(), "operator")
        return self._operated(service, operation)

    def _operated(self, service: Service, operation: Operation) -> Result:
        """The reply of a mutation: it shows the desired configuration already."""
        reply = {"Service": service.described(), "OperationId": operation.id}
        lost = self._world.faults.take(
            vendor="apprunner",
            component=service.component,
            call="AppRunner.UpdateService",
            kinds=frozenset({"lost-operation-id"}),
        )
        if lost:
            del reply["OperationId"]
        return Result(body=reply, wrote=True)

    def _list_operations(self, body: Mapping[str, Any]) -> Result:
        service = self.service(body)
        newest_first = sorted(service.operations, key=lambda one: one.started_at, reverse=True)
        listed = [operation.described(service) for operation in newest_first]
        return _page(body, "OperationSummaryList", listed)

    def _list_tags(self, body: Mapping[str, Any]) -> Result:
        return Result(body={"Tags": self.service(body, "ResourceArn").tags})


def service_ids(name: str, *, account: str, region: str) -> tuple[str, str]:
    """(id, ARN) of a new service."""
    service_id = uuid.uuid4().hex
    return service_id, f"arn:aws:apprunner:{region}:{account}:service/{name}/{service_id}"


def _require(service: Service, *statuses: str) -> None:
    if service.status not in statuses:
        raise AwsError(
            "InvalidStateException",
            f"Service cannot be changed in the current state: {service.status}",
        )


def _source(service: Service, sent: Mapping[str, Any]) -> dict[str, Any]:
    """The SourceConfiguration that an update leads to."""
    image = sent.get("ImageRepository")
    if image is None and "CodeRepository" in sent:
        raise AwsError("InvalidRequestException", "The source type of a service cannot change.")
    source = copy.deepcopy({**service.source, **sent})
    if image is None:
        return source
    identifier = str(image.get("ImageIdentifier", ""))
    refused = service.switches.digest_identifiers == "refused" and "@" in identifier
    if refused or not IDENTIFIER.fullmatch(identifier):
        raise AwsError("InvalidRequestException", f"Invalid image identifier: {identifier}")
    if not isinstance(image.get("ImageConfiguration", {}).get("Port", "8080"), str):
        raise AwsError("InvalidRequestException", "Port must be a string.")
    if "ImageConfiguration" not in image:
        kept = service.source["ImageRepository"].get("ImageConfiguration", {})
        wiped = service.switches.image_configuration == "wiped"
        source["ImageRepository"]["ImageConfiguration"] = (
            {"Port": "8080"} if wiped else copy.deepcopy(kept)
        )
    return source


def _page(body: Mapping[str, Any], key: str, items: list[dict[str, Any]]) -> Result:
    size = body.get("MaxResults", PAGE)
    if not 1 <= size <= PAGE:
        raise AwsError("InvalidRequestException", f"MaxResults must be 1 to {PAGE}.")
    listed, token = page(
        items, size=size, token=body.get("NextToken"), bad_token="InvalidRequestException"
    )
    return Result(body=without_none({key: listed, "NextToken": token}))
