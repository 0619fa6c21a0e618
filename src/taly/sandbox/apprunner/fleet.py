"""Runs the services: operations that take virtual time, and the processes that really serve."""

import copy
from collections.abc import Mapping
from datetime import datetime, timedelta
from typing import Any

from taly.sandbox.apprunner.service import (
    DEPLOYING,
    Blocks,
    Fate,
    Operation,
    Service,
    split_identifier,
)
from taly.sandbox.ecr import Build, Image, Registry
from taly.sandbox.process import AppProcess, Command
from taly.sandbox.world import World

SUCCESS_S = 300.0
"""Virtual seconds of a deployment that succeeds (about five minutes, roadmap #147)."""
REVERT_S = 600.0
"""When App Runner gives up on a failed one and begins to revert it."""
FAILURE_S = 900.0
"""When that ends (over fifteen minutes, roadmap #128)."""
PULL_S = 60.0
"""When the image is pulled, and a tag becomes a digest."""
PAUSE_S = 60.0
RESUME_S = 120.0
MAINTENANCE_S = 600.0

FATES: Mapping[str, Fate] = {
    "health-fail": "failed",
    "operation-stuck": "stuck",
    "false-success": "false-success",
}
"""Fault kind → what it makes of the next deployment."""


class Fleet:
    """All services of the account. The caller holds the lock."""

    def __init__(self, world: World, registry: Registry, command: Command) -> None:
        self._world = world
        self._registry = registry
        self._command = command
        self._stopping: list[AppProcess] = []
        self.services: dict[str, Service] = {}
        self.live = False
        """Whether processes run; not while history is seeded."""

    def begin(
        self,
        service: Service,
        kind: str,
        *,
        at: datetime,
        before: Blocks | None = None,
    ) -> Operation:
        """Start an operation whose desired configuration already stands in the service."""
        operation = Operation(
            type=kind, started_at=at, before=before or copy.deepcopy(service.blocks)
        )
        if kind in DEPLOYING:
            self._curse(service, operation)
        service.operations.append(operation)
        service.status = "OPERATION_IN_PROGRESS"
        service.updated_at = at
        return operation

    def advance(self, now: datetime) -> None:
        """Let everything happen that is due by now."""
        self._stopping = [process for process in self._stopping if not process.ended]
        self._registry.expire_by_lifecycle(now)
        for service in self.services.values():
            self.advance_service(service, now)

    def advance_service(self, service: Service, now: datetime) -> None:
        """The same for one service."""
        if service.maintenance_until and now >= service.maintenance_until:
            service.maintenance_until = None
            if service.status == "OPERATION_IN_PROGRESS" and service.in_flight is None:
                service.status = "RUNNING"
        operation = service.in_flight
        if operation is None:
            return
        if operation.type in DEPLOYING:
            self._advance_deployment(service, operation, now)
        else:
            self._advance_switch(service, operation, now)
        if service.in_flight is None and service.queued_push:
            service.queued_push = False
            if service.auto_deploy and service.status == "RUNNING":
                self.begin(service, "START_DEPLOYMENT", at=now)

    def maintain(self, service: Service, seconds: float) -> None:
        """AWS works on the service by itself: no operation is listed."""
        if service.status == "RUNNING":
            service.status = "OPERATION_IN_PROGRESS"
            until = self._world.clock.now() + timedelta(seconds=seconds or MAINTENANCE_S)
            service.maintenance_until = until

    def expire(self, service: Service, commit: str) -> None:
        """ECR's lifecycle deletes the images of that commit."""
        images = service.repository.images
        for digest in [one for one, image in images.items() if _built(image, commit)]:
            del images[digest]

    def settle(self, service: Service, now: datetime) -> None:
        """While history is seeded: what is still under way is taken to have ended now."""
        self.advance_service(service, now)
        if operation := service.in_flight:
            operation.started_at = min(operation.started_at, now - timedelta(seconds=FAILURE_S))
            self.advance_service(service, now)

    def start(self) -> None:
        """Start the process of everything live, at the same time, and wait until they listen."""
        self.live = True
        for service in self.services.values():
            if service.serving and service.status != "PAUSED":
                service.process = self._run(service, service.pulled[service.serving])

    def serve(self) -> None:
        """Wait (without the lock) for the processes of `start`, then let the URLs answer."""
        for service in list(self.services.values()):
            if service.process:
                service.process.settled.wait(30)
                service.front.live = service.process

    def processes(self) -> list[AppProcess]:
        """Every child process that may still run."""
        running = [service.process for service in self.services.values()]
        coming = [one.process for service in self.services.values() for one in service.operations]
        return [process for process in [*running, *coming, *self._stopping] if process]

    def _curse(self, service: Service, operation: Operation) -> None:
        call = "UpdateService" if operation.type == "UPDATE_SERVICE" else "StartDeployment"
        fault = self._world.faults.take(
            vendor="apprunner",
            component=service.component,
            call=f"AppRunner.{call}",
            kinds=frozenset(FATES),
        )
        if fault:
            operation.fate = FATES[fault.kind]
            operation.stuck_s = fault.seconds

    def _advance_deployment(self, service: Service, operation: Operation, now: datetime) -> None:
        passed = (now - operation.started_at).total_seconds()
        if not operation.pulled and passed >= PULL_S:
            self._pull(service, operation)
        if operation.fate == "stuck":
            if not operation.stuck_s or passed < SUCCESS_S + operation.stuck_s:
                return
            operation.fate = "failed"
        if operation.fate in ("failed", "failed-late"):
            self._advance_failure(service, operation, passed, now)
        elif passed >= SUCCESS_S:
            self._judge(service, operation, now)

    def _judge(self, service: Service, operation: Operation, now: datetime) -> None:
        """The deployment's time is over: did its health check pass?"""
        process = operation.process
        if process and process.state == "starting":
            operation.waited = True
            return
        if process and process.state == "dead":
            operation.fate = "failed"
            return
        if operation.fate != "false-success":
            self._promote(service, operation)
        due = operation.started_at + timedelta(seconds=SUCCESS_S)
        self._end(service, operation, "SUCCEEDED", now if operation.waited else due)
        service.status = "RUNNING"

    def _advance_failure(
        self, service: Service, operation: Operation, passed: float, now: datetime
    ) -> None:
        late = operation.fate == "failed-late"
        if late and SUCCESS_S <= passed < FAILURE_S and operation.process:
            service.front.live = operation.process  # it serves for a while
        if passed >= REVERT_S and operation.status == "IN_PROGRESS":
            operation.status = "ROLLBACK_IN_PROGRESS"
            operation.updated_at = operation.started_at + timedelta(seconds=REVERT_S)
        if passed < FAILURE_S:
            return
        service.front.live = service.process
        self._retire(operation.process)
        operation.process = None
        service.blocks = copy.deepcopy(operation.before)
        first = operation.type == "CREATE_SERVICE" or not service.serving
        due = operation.started_at + timedelta(seconds=FAILURE_S)
        status = "FAILED" if first else "ROLLBACK_SUCCEEDED"
        self._end(service, operation, status, min(due, now))
        service.status = "CREATE_FAILED" if first else "RUNNING"

    def _advance_switch(self, service: Service, operation: Operation, now: datetime) -> None:
        """Pause, resume, delete."""
        seconds = RESUME_S if operation.type == "RESUME_SERVICE" else PAUSE_S
        due = operation.started_at + timedelta(seconds=seconds)
        if now < due:
            return
        if operation.type == "RESUME_SERVICE":
            if self.live and operation.process is None:
                operation.process = self._run(service, service.pulled[service.serving])
            if operation.process and operation.process.state == "starting":
                return
            service.process = service.front.live = operation.process
            service.status = "RUNNING"
        else:
            service.front.live = None
            self._retire(service.process)
            service.process = None
            service.status = "PAUSED" if operation.type == "PAUSE_SERVICE" else "DELETED"
            service.deleted_at = due if service.status == "DELETED" else None
        self._end(service, operation, "SUCCEEDED", due)

    def _end(self, service: Service, operation: Operation, status: str, at: datetime) -> None:
        operation.status = status
        operation.ended_at = operation.updated_at = service.updated_at = at

    def _pull(self, service: Service, operation: Operation) -> None:
        """Resolve the identifier now, and start its image."""
        operation.pulled = True
        uri, tag, digest = split_identifier(service.identifier)
        repo = self._registry.by_uri(uri)
        image = (repo.images.get(digest) if digest else repo.tagged(tag)) if repo else None
        if image is None:
            if operation.fate in ("ok", "false-success"):
                operation.fate = "failed"  # there is nothing that it could pretend to serve
            return
        operation.digest = image.digest
        service.pulled[image.digest] = image.build
        if operation.fate == "ok":
            operation.fate = _fate_of(service, image, live=self.live)
        if self.live and operation.fate in ("ok", "failed-late"):
            operation.process = self._run(service, image.build)

    def _promote(self, service: Service, operation: Operation) -> None:
        old, service.process = service.process, operation.process
        operation.process = None
        service.front.live = service.process
        service.serving = operation.digest
        service.serving_env = service.environment
        self._retire(old)

    def _run(self, service: Service, build: Build) -> AppProcess:
        env = service.environment
        return AppProcess(self._command, build, env, health_path=service.health_path)

    def _retire(self, process: AppProcess | None) -> None:
        if process:
            process.stop()
            self._stopping.append(process)


def _built(image: Image, commit: str) -> bool:
    return bool(commit) and image.build.commit.startswith(commit)


def _fate_of(service: Service, image: Image, *, live: bool) -> Fate:
    """What becomes of a deployment of this image, as far as it is known before it runs."""
    if image.build.outcome == "failed":
        return "failed"
    if image.build.outcome == "failed-late":
        return "failed-late"
    if not live and image.build.outcome == "broken" and service.health_path:
        return "failed"
    return "ok"


def state_of(service: Service) -> dict[str, Any]:
    """The service for `GET /_sandbox/state`: names of variables, never their values."""
    build = service.pulled.get(service.serving)
    return {
        "arn": service.arn,
        "status": service.status,
        "identifier": service.identifier,
        "auto_deploy": service.auto_deploy,
        "serving": service.serving,
        "serving_commit": build.commit if build else "",
        "environment": sorted(service.environment),
        "serving_environment": sorted(service.serving_env),
        "operations": [one.described(service) for one in reversed(service.operations)],
    }
