"""The emulator's port: scenario, CI and console on one side, the three AWS APIs on the other."""

import copy
import threading
from collections.abc import Iterable, Mapping
from dataclasses import fields
from datetime import datetime, timedelta
from typing import Any
from wsgiref.types import StartResponse, WSGIEnvironment

from werkzeug.wrappers import Request

from taly.sandbox.apprunner.api import AppRunnerApi, service_ids
from taly.sandbox.apprunner.console import change_service
from taly.sandbox.apprunner.fleet import FAILURE_S, SUCCESS_S, Fleet, state_of
from taly.sandbox.apprunner.service import (
    BLOCKS,
    DEFAULTS,
    Blocks,
    Service,
    Switches,
    split_identifier,
)
from taly.sandbox.awsjson import Action, AwsError, answer, parsed, refusal, target_of
from taly.sandbox.cloudtrail import Trail
from taly.sandbox.ecr import Build, Registry, Repository, lifecycle_policy
from taly.sandbox.emulator import Deploy, SandboxComponent
from taly.sandbox.http import Reply, VendorApp
from taly.sandbox.process import Command, Front, backend_command
from taly.sandbox.world import World

ACCOUNT = "123456789012"
REGION = "eu-central-1"
TICK_S = 0.02
"""Real seconds between two looks at what is due."""
APIS = {
    "AppRunner": ("apprunner", "AppRunner", "1.0"),
    "AmazonEC2ContainerRegistry_V20150921": ("ecr", "ECR", "1.1"),
    "com.amazonaws.cloudtrail.v20131101.CloudTrail_20131101": ("cloudtrail", "CloudTrail", "1.1"),
}
"""X-Amz-Target prefix → (vendor, name in the journal, JSON version)."""
FAULTS = frozenset({"maintenance", "expired-image", "concurrent-push", "access-denied"})
SWITCHES = frozenset(field.name for field in fields(Switches))
SETTINGS = SWITCHES | {
    *("service", "repository", "env", "secrets", "health_check"),
    *("lifecycle_days", "cloudtrail_lag_s", "schema_version", "fails"),
}


class AppRunnerEmulator:
    """Emulated App Runner, ECR and CloudTrail of one account in one region.

    Component settings: `service` and `repository` (names), `env` (plain-text variables),
    `secrets` (variable → ARN), `health_check` (HealthCheckConfiguration), `lifecycle_days` (ECR
    expires images that long after their push), `cloudtrail_lag_s`, `schema_version`, `fails` (what
    of a broken one fails: `all` | `lists`), and the fields of `Switches`. Deploy settings:
    `schema_version`, `fails`, `env`.

    Faults of its own: `health-fail` (the next deployment is reverted), `operation-stuck` (it stays
    in progress for `seconds`, 0 = for ever), `false-success` (it ends SUCCEEDED and the old image
    still serves), `lost-operation-id`, and, taking effect just before the next fitting call:
    `maintenance` (for `seconds`), `expired-image` (settings: commit), `concurrent-push` (settings:
    commit, outcome; after an UpdateService it falls between its start and its pull),
    `access-denied`. Console changes: see `console.py`.
    """

    vendor = "apprunner"

    def __init__(
        self, world: World, environ: dict[str, str], *, command: Command = backend_command
    ) -> None:
        """`environ`: DATABASE_URL of the backends and, optionally, AWS_REGION."""
        self._world = world
        self._environ = environ
        self._region = environ.get("AWS_REGION", REGION)
        self._lock = threading.RLock()
        self._trail = Trail(world.clock, account=ACCOUNT, region=self._region)
        self._registry = Registry(
            world.clock, self._trail, account=ACCOUNT, region=self._region, pushed=self._pushed
        )
        self._fleet = Fleet(world, self._registry, command)
        self._api = AppRunnerApi(world, self._fleet, self._trail, make=self._new_service)
        self._components: dict[str, SandboxComponent] = {}
        self._fronts: dict[str, Front] = {}
        self._by_component: dict[str, Service] = {}
        self._stopped = threading.Event()
        self._ticker = threading.Thread(target=self._tick, daemon=True)
        self._actions: Mapping[str, Mapping[str, Action]] = {
            "AppRunner": self._api.actions,
            "ECR": self._registry.actions,
            "CloudTrail": {"LookupEvents": self._trail.lookup_events},
        }
        self._apps = {
            prefix: VendorApp(
                world=world, vendor=vendor, handler=self._handle, targeted=self._targeted
            )
            for prefix, (vendor, _, _) in APIS.items()
        }

    def wsgi(self, environ: WSGIEnvironment, start_response: StartResponse) -> Iterable[bytes]:
        """The three APIs as one WSGI application, told apart by X-Amz-Target."""
        prefix, _ = target_of(Request(environ))
        app = self._apps.get(prefix, self._apps["AppRunner"])
        return app(environ, start_response)

    def add(self, component: SandboxComponent) -> None:
        """A component with a repository and a URL; its first deploy creates the service."""
        unknown = sorted(set(component.settings) - SETTINGS)
        if unknown:
            raise ValueError(f"unknown settings of {component.name}: {', '.join(unknown)}")
        with self._lock:
            self._components[component.name] = component
            self._fronts[component.name] = Front()
            repo = self._registry.create(self._names(component)[1], component.name)
            if days := component.settings.get("lifecycle_days"):
                repo.lifecycle = lifecycle_policy(int(days))
            self._trail.lag_s = float(component.settings.get("cloudtrail_lag_s", 0))
            self._world.secrets.update(self._secret_values(component))

    def deploy(self, deploy: Deploy) -> None:
        """CI builds and pushes an image and, as the component is set up, deploys it."""
        with self._lock:
            now = self._world.clock.now()
            if not self._fleet.live:
                slow = deploy.outcome in ("failed", "failed-late")
                now -= timedelta(seconds=FAILURE_S if slow else SUCCESS_S)
            self._release(deploy, now)
            self._settle(deploy.component)

    def change(self, component: str, change: Mapping[str, Any]) -> None:
        """Something that a person did in the console; kinds: see `console.py`."""
        with self._lock:
            service = self._by_component[component]
            now = self._world.clock.now()
            if not self._fleet.live:
                now -= timedelta(seconds=SUCCESS_S)
            change_service(self._api, self._fleet, service, change, now)
            self._settle(component)

    def state(self) -> dict[str, Any]:
        """Services with their operations, and the images of their repositories."""
        with self._lock:
            self._fleet.advance(self._world.clock.now())
            return {
                "services": {name: state_of(one) for name, one in self._by_component.items()},
                "repositories": {
                    repo.component: [
                        {
                            "digest": image.digest,
                            "tags": sorted(image.tags),
                            "commit": image.build.commit,
                            "pushed_at": image.pushed_at.isoformat(),
                        }
                        for image in repo.images.values()
                    ]
                    for repo in self._registry.repositories.values()
                },
            }

    def settings(self, component: str) -> dict[str, str]:
        """`service` and `region`, as taly.toml takes them."""
        return {"service": self._names(self._components[component])[0], "region": self._region}

    def url(self, component: str) -> str:
        """The service's URL."""
        return self._fronts[component].url

    def start(self) -> None:
        """Start what is live, at the same time; return once it answers."""
        with self._lock:
            self._fleet.start()
            for front in self._fronts.values():
                front.start()
        self._fleet.serve()
        self._ticker.start()

    def stop(self) -> None:
        """End the children, by their ids, and the listeners."""
        self._stopped.set()
        if self._ticker.is_alive():
            self._ticker.join(5)
        with self._lock:
            processes = self._fleet.processes()
        for process in processes:
            process.stop()
        for process in processes:
            process.join()
        for front in self._fronts.values():
            front.stop()

    def _settle(self, component: str) -> None:
        if not self._fleet.live:
            self._fleet.settle(self._by_component[component], self._world.clock.now())

    def _names(self, component: SandboxComponent) -> tuple[str, str]:
        """(service, repository)."""
        name = component.name if len(component.name) >= 4 else f"taly-{component.name}"
        service = str(component.settings.get("service", name))
        return service, str(component.settings.get("repository", service.lower()))

    def _secret_values(self, component: SandboxComponent) -> set[str]:
        words = ("SECRET", "KEY", "TOKEN", "PASSWORD", "_URL")
        env = self._env(component)
        return {value for name, value in env.items() if any(word in name for word in words)}

    def _env(self, component: SandboxComponent) -> dict[str, str]:
        database = self._environ.get("DATABASE_URL")
        default = {"NODE_ENV": "production", **({"DATABASE_URL": database} if database else {})}
        return {**default, **component.settings.get("env", {})}

    def _release(self, deploy: Deploy, at: datetime) -> None:
        component = self._components[deploy.component]
        repo = self._registry.repositories[self._names(component)[1]]
        settings = {**component.settings, **deploy.settings}
        build = Build(
            commit=deploy.commit,
            outcome=deploy.outcome,
            schema_version=int(settings.get("schema_version", 1)),
            fails=settings.get("fails", "all"),
        )
        self._registry.push(repo, build, (deploy.commit[:12], "latest"), at)
        service = self._by_component.get(deploy.component)
        if service is None:
            self._api.create(self._new_service(*self._first(component, repo, deploy), at), at)
        elif service.switches.track == "update" and service.status == "RUNNING":
            source = copy.deepcopy(service.source)
            source["ImageRepository"]["ImageIdentifier"] = f"{repo.uri}:{deploy.commit[:12]}"
            variables = source["ImageRepository"]["ImageConfiguration"]
            variables["RuntimeEnvironmentVariables"] |= deploy.settings.get("env", {})
            self._api.update(service, {"SourceConfiguration": source}, at, "ci")

    def _first(
        self, component: SandboxComponent, repo: Repository, deploy: Deploy
    ) -> tuple[str, Blocks]:
        """(name, configuration) with which the first deploy creates the service."""
        name, _ = self._names(component)
        latest = component.settings.get("track", "latest") == "latest"
        secrets = {"JWT_SECRET": f"arn:aws:ssm:{self._region}:{ACCOUNT}:parameter/{name}/jwt"}
        source = {
            "ImageRepository": {
                "ImageIdentifier": f"{repo.uri}:{'latest' if latest else deploy.commit[:12]}",
                "ImageConfiguration": {
                    "RuntimeEnvironmentVariables": self._env(component)
                    | deploy.settings.get("env", {}),
                    "RuntimeEnvironmentSecrets": component.settings.get("secrets", secrets),
                    "Port": "3000",
                },
                "ImageRepositoryType": "ECR",
            },
            "AutoDeploymentsEnabled": latest,
            "AuthenticationConfiguration": {
                "AccessRoleArn": f"arn:aws:iam::{ACCOUNT}:role/AppRunnerECRAccessRole"
            },
        }
        health = component.settings.get("health_check", {})
        return name, {"SourceConfiguration": source, "HealthCheckConfiguration": health}

    def _new_service(self, name: str, blocks: Mapping[str, Any], at: datetime) -> Service:
        """A service of that name: of the component that is set up so, else of a new component."""
        for component in self._components.values():
            if self._names(component)[0] == name:
                break
        else:
            component = SandboxComponent(name=name, vendor="apprunner")
            self.add(component)
            if self._fleet.live:
                self._fronts[name].start()
        service_id, arn = service_ids(name, account=ACCOUNT, region=self._region)
        settings = component.settings
        service = Service(
            component=component.name,
            name=name,
            arn=arn,
            id=service_id,
            front=self._fronts[component.name],
            repository=self._registry.repositories[self._names(component)[1]],
            switches=Switches(**{key: settings[key] for key in settings if key in SWITCHES}),
            created_at=at,
            updated_at=at,
            blocks={key: {**DEFAULTS.get(key, {}), **blocks.get(key, {})} for key in BLOCKS},
            tags=[{"Key": "component", "Value": component.name}],
        )
        self._by_component[component.name] = service
        return service

    def _pushed(self, repo: Repository, tag: str, at: datetime) -> None:
        """A tag was put on another image: does a service follow it?"""
        for service in self._fleet.services.values():
            uri, tracked, digest = split_identifier(service.identifier)
            if digest or not service.auto_deploy or (uri, tracked) != (repo.uri, tag):
                continue
            if service.status == "RUNNING":
                self._api.deploy(service, at, "apprunner.amazonaws.com")
            elif service.switches.pushes_during_operation == "queued" and service.in_flight:
                service.queued_push = True

    def _tick(self) -> None:
        while not self._stopped.wait(TICK_S):
            with self._lock:
                self._fleet.advance(self._world.clock.now())

    def _targeted(self, request: Request) -> tuple[str, str]:
        prefix, operation = target_of(request)
        _, name, _ = APIS.get(prefix, ("", prefix, ""))
        return f"{name}.{operation}", self._component_of(parsed(request))

    def _component_of(self, body: Mapping[str, Any]) -> str:
        arn = body.get("ServiceArn", body.get("ResourceArn", ""))
        with self._lock:
            if service := self._fleet.services.get(arn):
                return service.component
            repo = self._registry.repositories.get(body.get("repositoryName", ""))
            return repo.component if repo else ""

    def _handle(self, request: Request) -> Reply:
        prefix, operation = target_of(request)
        _, name, version = APIS.get(prefix, ("", prefix, "1.0"))
        target, component = self._targeted(request)
        body = parsed(request)
        wrote = False
        with self._lock:
            self._fleet.advance(self._world.clock.now())
            try:
                push_after = self._strike(target, component)
                action = self._actions.get(name, {}).get(operation)
                if action is None:
                    raise AwsError("UnknownOperationException", f"{target} is not emulated.")
                result = action(body)
                wrote = result.wrote
                response = answer(version, result.body)
                if push_after:
                    self.deploy(push_after)
            except AwsError as error:
                response = refusal(version, error)
        return Reply(response=response, target=target, component=component, wrote=wrote, body=body)

    def _strike(self, target: str, component: str) -> Deploy | None:
        """Let an armed fault of ours happen; a push that is to come after the call is returned."""
        fault = self._world.faults.take(
            vendor=APIS_BY_NAME[target.split(".")[0]],
            component=component,
            call=target,
            kinds=FAULTS,
        )
        if fault is None:
            return None
        if fault.kind == "access-denied":
            raise AwsError("AccessDeniedException", f"not authorized to perform: {target}")
        hit = fault.component or component or next(iter(self._by_component), "")
        service = self._by_component.get(hit)
        if service is None:
            return None
        if fault.kind == "maintenance":
            self._fleet.maintain(service, fault.seconds)
            return None
        commit = str(fault.settings.get("commit", ""))
        if fault.kind == "expired-image":
            self._fleet.expire(service, commit)
            return None
        outcome = fault.settings.get("outcome", "broken")
        return Deploy(component=service.component, commit=commit or "0badc0de", outcome=outcome)


APIS_BY_NAME = {name: vendor for vendor, name, _ in APIS.values()}
