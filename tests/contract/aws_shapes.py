"""Holds every reply of an emulated AWS service against botocore's model of that service."""

import json
import re
from collections.abc import Callable, Iterable, Iterator
from typing import Any

import botocore.session
from botocore.model import ListShape, MapShape, OperationModel, Shape, StringShape, StructureShape

SERVICES = {
    "AppRunner": "apprunner",
    "AmazonEC2ContainerRegistry_V20150921": "ecr",
    "com.amazonaws.cloudtrail.v20131101.CloudTrail_20131101": "cloudtrail",
}
COMMON_ERRORS = {"AccessDeniedException", "UnknownOperationException", "ThrottlingException"}
UNDECLARED = {("StartDeployment", "InvalidStateException")}
"""The model does not declare it; the service must refuse somehow, and its siblings do it so."""
CONTRADICTIONS = {"ServiceId"}
"""Shapes whose pattern and length cannot both hold (a UUID with dashes of 32 characters)."""
TYPES: dict[str, tuple[type, ...]] = {
    "string": (str,),
    "boolean": (bool,),
    "integer": (int,),
    "long": (int,),
    "timestamp": (int, float),
    "structure": (dict,),
    "map": (dict,),
    "list": (list,),
}
_session = botocore.session.get_session()


def operation_model(service: str, operation: str) -> OperationModel:
    """botocore's model of one operation."""
    return _session.get_service_model(service).operation_model(operation)


def problems(shape: Shape, value: Any, where: str) -> Iterator[str]:
    """What is wrong with a value of that shape: types, required and unknown members, bounds."""
    if not isinstance(value, TYPES[shape.type_name]) or (
        isinstance(value, bool) and shape.type_name != "boolean"
    ):
        yield f"{where}: {value!r} is no {shape.type_name}"
    elif isinstance(shape, StructureShape):
        yield from (
            f"{where}.{name}: missing" for name in shape.required_members if name not in value
        )
        for name, inner in value.items():
            if name in shape.members:
                yield from problems(shape.members[name], inner, f"{where}.{name}")
            else:
                yield f"{where}.{name}: not in the model"
    elif isinstance(shape, ListShape):
        for index, inner in enumerate(value):
            yield from problems(shape.member, inner, f"{where}[{index}]")
    elif isinstance(shape, MapShape):
        for name, inner in value.items():
            yield from problems(shape.value, inner, f"{where}[{name}]")
    elif isinstance(shape, StringShape):
        yield from _text_problems(shape, value, where)


def _text_problems(shape: StringShape, value: str, where: str) -> Iterator[str]:
    if shape.enum and value not in shape.enum:
        yield f"{where}: {value!r} is none of {shape.enum}"
    least, most = shape.metadata.get("min", 0), shape.metadata.get("max", len(value))
    if not least <= len(value) <= most:
        yield f"{where}: {value!r} has not {least} to {most} characters"
    pattern = shape.metadata.get("pattern")
    if pattern and shape.name not in CONTRADICTIONS and not re.search(pattern, value):
        yield f"{where}: {value!r} does not fit {pattern}"


class Validated:
    """A WSGI application around the emulator's: it notes every reply that the model forbids."""

    def __init__(self, app: Any) -> None:
        self._app = app
        self.problems: list[str] = []
        self.checked: set[str] = set()
        """The operations whose replies were checked."""
        self.forgiven: set[str] = set()
        """Problems that a fault makes on purpose."""

    def __call__(self, environ: Any, start_response: Callable[..., Any]) -> Iterable[bytes]:
        statuses: list[str] = []

        def note(status: str, headers: Any, *rest: Any) -> Any:
            statuses.append(status)
            return start_response(status, headers, *rest)

        body = b"".join(self._app(environ, note))
        prefix, _, operation = environ.get("HTTP_X_AMZ_TARGET", "").rpartition(".")
        if prefix in SERVICES:
            found = self._check(SERVICES[prefix], operation, statuses[0], json.loads(body))
            self.problems += [one for one in found if one not in self.forgiven]
        return [body]

    def _check(self, service: str, operation: str, status: str, body: Any) -> Iterator[str]:
        if operation not in _session.get_service_model(service).operation_names:
            return
        model = operation_model(service, operation)
        if status.startswith("2"):
            self.checked.add(f"{service}:{operation}")
            yield from problems(model.output_shape, body, operation)
        elif "error" not in body:  # the sandbox's own refusals are no vendor's
            declared = {shape.name for shape in model.error_shapes} | COMMON_ERRORS
            code = body.get("__type")
            if code not in declared and (operation, code) not in UNDECLARED:
                yield f"{operation}: error {code!r} is not in the model"
            if not body.get("message"):
                yield f"{operation}: error {code!r} says nothing"
