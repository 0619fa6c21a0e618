"""`serverless deploy`, as osls and v3 do it: compare, upload, update the stack, prune by age."""

import json
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any

from taly.sandbox.emulator import Deploy
from taly.sandbox.serverless.cloudformation import CloudFormation
from taly.sandbox.serverless.moto_server import SHA_METADATA, MotoServer
from taly.sandbox.serverless.service import (
    BUCKET,
    Package,
    Service,
    empty_template,
    package,
    table,
)
from taly.sandbox.serverless.stacks import UPDATABLE, Stack, Target
from taly.sandbox.serverless.updates import Fate
from taly.sandbox.world import World

FATES: Mapping[str, Fate] = {"failed": "fails", "failed-late": "late"}
PACKAGING_S = 10.0
CAPABILITIES = ("CAPABILITY_IAM", "CAPABILITY_NAMED_IAM")


@dataclass(frozen=True, slots=True, kw_only=True)
class Framework:
    """The deploys of the services of one sandbox."""

    world: World
    moto: MotoServer

    def deploy(self, service: Service, cloud: CloudFormation, deploy: Deploy, *, past: bool) -> str:
        """Deploy now; returns what came of it, in a word or two.

        In the `past` everything has already happened and ends at the clock's instant.
        """
        self._take_settings(service, deploy.settings)
        now = self.world.clock.now()
        span = timedelta(seconds=cloud.update_s)
        begin = now - span if past else now
        built = package(
            service,
            commit=deploy.commit,
            at=begin - timedelta(seconds=PACKAGING_S if past else 0),
        )
        stack = cloud.stacks.get(service.stack) or self._create(service, cloud, begin)
        bucket = self.bucket(service, stack)
        if self._unchanged(service, bucket, built):
            return "no changes to deploy"
        self._upload(service, bucket, built, at=begin)
        if stack.status not in UPDATABLE:
            return f"uploaded; the stack is {stack.status}"
        target = Target(
            template=built.template,
            body=json.dumps(built.template, ensure_ascii=False),
            parameters={},
            tags={"STAGE": service.stage},
            capabilities=CAPABILITIES,
        )
        cloud.start(stack, target, fate=FATES.get(deploy.outcome, "ok"), at=begin)
        end = begin + span + timedelta(microseconds=1)
        stack.plan([(end, lambda at: self._prune(service, stack))])
        if past:
            stack.catch_up(now + 3 * span)
        return "deployed" if past else "deploying"

    def bucket(self, service: Service, stack: Stack) -> str:
        """The bucket that holds the service's artifacts."""
        return service.shared_bucket or stack.resources.physical_id(BUCKET)

    def directories(self, service: Service, bucket: str) -> list[str]:
        """The service's directories, oldest first."""
        keys = self.moto.keys(bucket, service.prefix)
        return sorted({key.removeprefix(service.prefix).split("/")[0] for key in keys})

    def _take_settings(self, service: Service, settings: Mapping[str, Any]) -> None:
        """What this deploy changes in serverless.yml; null takes a thing out."""
        for name, value in {
            **settings.get("environment", {}),
            **settings.get("secrets", {}),
        }.items():
            if value is None:
                service.environment.pop(name, None)
            else:
                service.environment[name] = str(value)
        self.world.secrets.update(str(v) for v in settings.get("secrets", {}).values() if v)
        added = dict(settings.get("resources", {}))
        for name in settings.get("tables", ()):
            added[name] = table(f"{service.stack}-{name}")
        for name, resource in added.items():
            if resource is None:
                service.resources.pop(name, None)
            else:
                service.resources[name] = resource
        if "functions" in settings:
            service.functions = tuple(settings["functions"])

    def _create(self, service: Service, cloud: CloudFormation, at: datetime) -> Stack:
        body = json.dumps(empty_template(service))
        return cloud.create(service.stack, service.component, body, at=at)

    def _unchanged(self, service: Service, bucket: str, built: Package) -> bool:
        """The framework's check-for-changes: against the newest directory, whatever is live."""
        directories = self.directories(service, bucket)
        if not directories:
            return False
        prefix = f"{service.prefix}{directories[-1]}/"
        stored = [self.moto.object(bucket, key) for key in self.moto.keys(bucket, prefix)]
        objects: list[Any] = [one for one in stored if one is not None]
        uploaded = max(one.last_modified for one in objects)
        if uploaded.replace(tzinfo=UTC) > self._earliest_function(service):
            return False  # the newest upload never went live
        return sorted(one.metadata.get(SHA_METADATA, "") for one in objects) == built.hashes

    def _earliest_function(self, service: Service) -> datetime:
        found = [
            self.moto.function(service.region, service.function_name(name))
            for name in service.functions
        ]
        if not all(found):
            return datetime.fromtimestamp(0, UTC)
        return min(datetime.fromisoformat(one.last_modified) for one in found if one)

    def _upload(self, service: Service, bucket: str, built: Package, *, at: datetime) -> None:
        for name, (body, sha) in built.files.items():
            key = f"{service.prefix}{built.directory}/{name}"
            self.moto.put(bucket, key, body, sha, at)

    def _prune(self, service: Service, stack: Stack) -> None:
        """Clean up after a success: the oldest directories go, live or not."""
        if stack.status != "UPDATE_COMPLETE":
            return
        bucket = self.bucket(service, stack)
        for directory in self.directories(service, bucket)[: -service.keep]:
            for key in self.moto.keys(bucket, f"{service.prefix}{directory}/"):
                self.moto.delete(bucket, key)
