"""The resources of a stack: moto makes them, and where moto differs from AWS this mends it."""

import copy
from collections.abc import Iterable
from datetime import datetime
from typing import Any

from moto.cloudformation.parsing import ResourceMap, clean_json, get_model_map
from moto.core.exceptions import ServiceException

from taly.sandbox.serverless.moto_server import MotoServer, lambda_time

FUNCTION = "AWS::Lambda::Function"
VERSION = "AWS::Lambda::Version"
ALIAS = "AWS::Lambda::Alias"

Template = dict[str, Any]


def retained(resource: dict[str, Any]) -> bool:
    """Whether CloudFormation leaves the resource alone when it goes out of the template."""
    return str(resource.get("DeletionPolicy", "Delete")).startswith("Retain")


class StackResources:
    """What a stack has made. `bring_to` is the only thing that changes it."""

    def __init__(self, *, moto: MotoServer, stack_id: str, stack: str, region: str) -> None:
        self._moto = moto
        self.region = region
        self._template: Template = {"Resources": {}}
        self._map = ResourceMap(
            stack_id, stack, {}, {}, region, moto.account, copy.deepcopy(self._template), {}
        )
        self._map.load()
        self._physical: dict[str, str] = {}
        self._stack = stack

    def bring_to(self, template: Template, parameters: dict[str, str], at: datetime) -> None:
        """Make, change and remove until the resources are as the template says.

        Versions come after the function's update (moto publishes the old code), aliases follow
        their version (moto has none), retained resources stay (moto deletes them).
        """
        self._let_go(template)
        versions = _of_type(template, VERSION)
        new_versions = [name for name in versions if name not in self._template["Resources"]]
        changed = self._changed_functions(template)
        self._update(_without(template, new_versions), parameters)
        for name in changed:
            self._mend_function(template["Resources"][name], at)
        if new_versions:
            self._update(template, parameters)
            self._stamp_versions(new_versions, at)
        self._template = copy.deepcopy(template)
        for name in _of_type(template, ALIAS):
            self._point_alias(template["Resources"][name]["Properties"])

    def resolved(self, properties: Any) -> Any:
        """The properties with their references replaced, where what they name was made."""
        if isinstance(properties, dict) and not _is_reference(properties):
            return {name: self.resolved(value) for name, value in properties.items()}
        try:
            return clean_json(copy.deepcopy(properties), self._map)
        except (KeyError, AttributeError, ServiceException):
            return properties

    def physical_id(self, logical_id: str) -> str:
        """The resource's physical id; empty while it does not exist."""
        made = self._map._parsed_resources.get(logical_id)
        if made is not None and not isinstance(made, str):
            found = getattr(made, "physical_resource_id", None) or getattr(made, "name", None)
            if isinstance(found, str):
                return found
        if logical_id in self._template["Resources"]:
            return self._physical.setdefault(logical_id, f"{self._stack}-{logical_id}")
        return ""

    def exists(self, logical_id: str) -> bool:
        """Whether the resource was made."""
        return logical_id in self._template["Resources"]

    def _let_go(self, template: Template) -> None:
        """Forget resources that leave the template and are retained."""
        for name, resource in list(self._map._resource_json_map.items()):
            if name not in template["Resources"] and retained(resource):
                del self._map._resource_json_map[name]
                self._map._parsed_resources.pop(name, None)

    def _update(self, template: Template, parameters: dict[str, str]) -> None:
        known = get_model_map()
        wanted = copy.deepcopy(template)
        wanted["Resources"] = {
            name: resource
            for name, resource in wanted["Resources"].items()
            if resource["Type"] in known
        }
        before = dict(self._map._parsed_resources)
        self._map.update(wanted, dict(parameters) or None)
        for name in before.keys() & self._template["Resources"].keys():
            if name not in wanted["Resources"]:  # else moto never makes it again
                self._map._parsed_resources.pop(name, None)
        for name in wanted["Resources"]:
            if self._map._parsed_resources.get(name) is None and before.get(name) is not None:
                self._map._parsed_resources[name] = before[name]  # moto cannot update this type

    def _changed_functions(self, template: Template) -> list[str]:
        old = self._template["Resources"]
        return [
            name
            for name in _of_type(template, FUNCTION)
            if old.get(name) != template["Resources"][name]
        ]

    def _mend_function(self, resource: dict[str, Any], at: datetime) -> None:
        """Defaults for what the template no longer says (moto keeps it), and the virtual time."""
        wanted = self.resolved(resource["Properties"])
        function = self._moto.function(self.region, wanted["FunctionName"])
        if function is None:
            return
        function.environment_vars = wanted.get("Environment", {}).get("Variables", {})
        function.memory_size = wanted.get("MemorySize", 128)
        function.timeout = wanted.get("Timeout", 3)
        function.description = wanted.get("Description", "")
        function.last_modified = lambda_time(at)
        function.code_or_config_updated = True

    def _stamp_versions(self, names: Iterable[str], at: datetime) -> None:
        for name in names:
            made: Any = self._map._parsed_resources.get(name)
            properties = self._map._resource_json_map[name]["Properties"]
            function = self.resolved(properties["FunctionName"])
            version = self._moto.functions(self.region)._get_version(function, str(made.version))
            version.last_modified = lambda_time(at)
            self._physical[name] = version.function_arn

    def _point_alias(self, properties: dict[str, Any]) -> None:
        function = self.resolved(properties["FunctionName"])
        storage = self._moto.functions(self.region)
        newest = storage._functions[function]["versions"][-1]
        aliases = storage._get_function_aliases(function)
        if properties["Name"] in aliases:
            aliases[properties["Name"]].update(None, str(newest.version), None)
        else:
            storage.put_alias(properties["Name"], function, str(newest.version), "", "")


def _is_reference(value: dict[str, Any]) -> bool:
    return any(name == "Ref" or name.startswith("Fn::") for name in value)


def _of_type(template: Template, kind: str) -> list[str]:
    return [name for name, one in template["Resources"].items() if one["Type"] == kind]


def _without(template: Template, names: Iterable[str]) -> Template:
    left_out = set(names)
    kept = {name: one for name, one in template["Resources"].items() if name not in left_out}
    return {**template, "Resources": kept}
