"""The emulated AWS of the Serverless Framework services: moto, mended where a rollback notices."""

import threading
from collections.abc import Mapping
from dataclasses import asdict, replace
from typing import Any

from werkzeug.wrappers import Request

from taly.sandbox.emulator import Deploy, SandboxComponent
from taly.sandbox.http import Reply, VendorApp
from taly.sandbox.serverless import descriptions, routing
from taly.sandbox.serverless.cloudformation import CloudFormation
from taly.sandbox.serverless.console import Console
from taly.sandbox.serverless.framework import Framework
from taly.sandbox.serverless.moto_server import MotoServer, lambda_time
from taly.sandbox.serverless.query import AwsError, answer, parameters, refusal
from taly.sandbox.serverless.service import Service
from taly.sandbox.serverless.stacks import Stack
from taly.sandbox.serverless.updates import Fate
from taly.sandbox.world import World

DEFAULT_REGION = "eu-central-1"
FATES: Mapping[str, Fate] = {
    "update-fails": "fails",
    "rollback-fails": "rollback-fails",
    "false-success": "false-success",
    "half-success": "half-success",
    "failed-late": "late",
}
UPDATE_FAULTS = frozenset({*FATES, "artifact-missing"})
READERS = {
    "DescribeStacks": descriptions.describe_stacks,
    "DescribeStackEvents": descriptions.describe_stack_events,
    "DescribeStackResource": descriptions.describe_stack_resource,
    "DescribeStackResources": descriptions.describe_stack_resources,
    "GetTemplate": descriptions.get_template,
    "ListStackResources": descriptions.list_stack_resources,
    "ListStacks": descriptions.list_stacks,
    "ValidateTemplate": descriptions.validate_template,
}


class ServerlessEmulator:
    """S3, Lambda, DynamoDB… by moto, CloudFormation by `cloudformation`, deploys by `framework`.

    Fault kinds of its own, used up by the next update (or ContinueUpdateRollback) of a component:
    `update-fails`, `rollback-fails` (the update and its rollback), `false-success` (the stack says
    UPDATE_COMPLETE and nothing changed), `half-success` (the last function keeps its code),
    `failed-late` (a rollback trigger), `artifact-missing`
    (the artifact is gone when Lambda asks for it). `hotfix` happens at the next request.
    """

    vendor = "serverless"

    def __init__(self, world: World) -> None:
        self._world = world
        self._lock = threading.RLock()
        self._moto = MotoServer()
        self._framework = Framework(world=world, moto=self._moto)
        self._clouds: dict[str, CloudFormation] = {}
        self._services: dict[str, Service] = {}
        self._outcomes: dict[str, str] = {}
        self._started = False
        self.wsgi = VendorApp(
            world=world,
            vendor=self.vendor,
            handler=self._handle,
            targeted=self._targeted,
            refused=routing.refused,
        )

    def add(self, component: SandboxComponent) -> None:
        """Know the service; settings: service, stage, region, functions, bucket, alias,
        commit_env, keep, update_s."""
        given = component.settings
        service = Service(
            component=component.name,
            service=str(given.get("service", component.name)),
            stage=str(given.get("stage", "production")),
            region=str(given.get("region", DEFAULT_REGION)),
            functions=tuple(given.get("functions", ("handler",))),
            shared_bucket=str(given.get("bucket", "")),
            alias=str(given.get("alias", "")),
            commit_env=str(given.get("commit_env", "")),
            keep=int(given.get("keep", 5)),
        )
        with self._lock:
            self._services[component.name] = service
            cloud = self._cloud(service.region)
            cloud.update_s = float(given.get("update_s", cloud.update_s))
            if service.shared_bucket and service.shared_bucket not in self._moto.s3.buckets:
                self._moto.s3.create_bucket(service.shared_bucket, service.region)

    def deploy(self, deploy: Deploy) -> None:
        """`serverless deploy`; settings of a deploy: environment, secrets, resources, tables,
        functions. Each stays in serverless.yml for later deploys; null takes it out."""
        with self._lock:
            self._catch_up()
            service = self._services[deploy.component]
            outcome = self._framework.deploy(
                service, self._cloud(service.region), deploy, past=not self._started
            )
            self._outcomes[deploy.component] = outcome

    def change(self, component: str, change: Mapping[str, Any]) -> None:
        """What a person did; see `console.Console` for the kinds."""
        with self._lock:
            self._catch_up()
            self._console(component).do(change)

    def state(self) -> dict[str, Any]:
        """Stacks, directories, functions; names of environment variables, never their values."""
        with self._lock:
            self._catch_up()
            return {name: self._describe(service) for name, service in self._services.items()}

    def settings(self, component: str) -> dict[str, str]:
        """service, stage, region, and the bucket where it is a shared one."""
        service = self._services[component]
        settings = {"service": service.service, "stage": service.stage, "region": service.region}
        return settings | ({"bucket": service.shared_bucket} if service.shared_bucket else {})

    def url(self, component: str) -> str:
        """Nowhere: the functions are not run."""
        return ""

    def start(self) -> None:
        """Seeding is over: deploys take their time from here on."""
        self._started = True

    def stop(self) -> None:
        """Nothing runs that would have to end."""

    def _cloud(self, region: str) -> CloudFormation:
        if region not in self._clouds:
            self._clouds[region] = CloudFormation(
                moto=self._moto, clock=self._world.clock, region=region, fate=self._fate
            )
        return self._clouds[region]

    def _catch_up(self) -> None:
        for cloud in self._clouds.values():
            cloud.catch_up()

    def _console(self, component: str) -> Console:
        service = self._services[component]
        stack = self._cloud(service.region).stacks[service.stack]
        return Console(
            service=service,
            stack=stack,
            moto=self._moto,
            framework=self._framework,
            now=self._world.clock.now(),
        )

    def _fate(self, stack: Stack, operation: str) -> Fate:
        fault = self._world.faults.take(
            vendor=self.vendor,
            component=stack.component,
            call=f"CloudFormation.{operation}",
            kinds=UPDATE_FAULTS,
        )
        if fault is not None and fault.kind == "artifact-missing":
            self._console(stack.component).do({"kind": "delete-artifact", **fault.settings})
        return FATES.get(fault.kind, "ok") if fault else "ok"

    def _targeted(self, request: Request) -> tuple[str, str]:
        with self._lock:
            service, _ = routing.service_and_region(request, DEFAULT_REGION)
            buckets = {
                self._framework.bucket(one, stack): one.component
                for one in self._services.values()
                if not one.shared_bucket
                and (stack := self._cloud(one.region).stacks.get(one.stack))
            }
            component = routing.component_of(request, self._services.values(), buckets)
            return routing.title(service, routing.operation(request, service)), component

    def _handle(self, request: Request) -> Reply:
        with self._lock:
            target, component = self._targeted(request)
            self._hotfix_if_armed(component, target)
            self._catch_up()
            service, region = routing.service_and_region(request, DEFAULT_REGION)
            if service == "cloudformation":
                reply = self._cloudformation(request, region)
            else:
                reply = self._by_moto(request, service)
            return replace(reply, target=target, component=component)

    def _hotfix_if_armed(self, component: str, target: str) -> None:
        kinds = frozenset({"hotfix"})
        fault = component and self._world.faults.take(
            vendor=self.vendor, component=component, call=target, kinds=kinds
        )
        if fault:
            self._console(component).do({**fault.settings, "kind": "hotfix"})

    def _cloudformation(self, request: Request, region: str) -> Reply:
        name = request.form.get("Action", "")
        given = parameters(request.form.to_dict())
        cloud = self._cloud(region)
        try:
            result, wrote = self._operate(cloud, name, given)
            response = answer(name, result)
        except AwsError as error:
            response, wrote = refusal(error), False
        return Reply(response=response, target="", wrote=wrote, body=given)

    def _operate(
        self, cloud: CloudFormation, name: str, given: Mapping[str, Any]
    ) -> tuple[dict[str, Any], bool]:
        if name in READERS:
            return READERS[name](cloud, given), False
        writers = {
            "ContinueUpdateRollback": cloud.continue_update_rollback,
            "CreateChangeSet": cloud.create_change_set,
            "DeleteChangeSet": cloud.delete_change_set,
            "DescribeChangeSet": cloud.describe_change_set,
            "ExecuteChangeSet": cloud.execute_change_set,
            "ListChangeSets": cloud.list_change_sets,
            "UpdateStack": cloud.update_stack,
        }
        if name not in writers:
            raise AwsError("InvalidAction", f"this sandbox does not emulate {name}")
        return writers[name](given)

    def _by_moto(self, request: Request, service: str) -> Reply:
        name = routing.operation(request, service)
        response = self._moto.call(request)
        wrote = response.status_code < 300 and not routing.reads_only(request, service, name)
        if wrote:
            self._restamp(request, service)
        return Reply(
            response=response, target="", wrote=wrote, body=routing.body_for_journal(request)
        )

    def _restamp(self, request: Request, service: str) -> None:
        now = self._world.clock.now()
        if service == "s3":
            bucket, _, key = request.path.lstrip("/").partition("/")
            self._moto.stamp(bucket, key, now)
        if service == "lambda":
            for one in self._services.values():
                for function in map(one.function_name, one.functions):
                    found = self._moto.function(one.region, function)
                    if found is not None and f"/{function}/" in request.path:
                        found.last_modified = lambda_time(now)

    def _describe(self, service: Service) -> dict[str, Any]:
        stack = self._cloud(service.region).stacks.get(service.stack)
        if stack is None:
            return {"stack": "", "settings": asdict(service) | {"environment": {}}}
        functions = {
            name: self._moto.function(service.region, service.function_name(name))
            for name in service.functions
        }
        return {
            "stack": stack.status,
            "reason": stack.reason,
            "last_deploy": self._outcomes.get(service.component, ""),
            "bucket": self._framework.bucket(service, stack),
            "directories": self._framework.directories(
                service, self._framework.bucket(service, stack)
            ),
            "functions": {
                name: {
                    "code_sha256": one.code_sha_256,
                    "last_modified": one.last_modified,
                    "environment": sorted(one.environment_vars),
                    "commit": self._console(service.component).commit_of(one),
                }
                for name, one in functions.items()
                if one is not None
            },
            "resources": sorted(stack.template["Resources"]),
        }
