"""The Query protocol that CloudFormation speaks: form parameters in, XML out."""

import uuid
from collections.abc import Mapping
from datetime import datetime
from typing import Any
from xml.sax.saxutils import escape

from werkzeug.wrappers import Response

NAMESPACE = "http://cloudformation.amazonaws.com/doc/2010-05-15/"


class AwsError(Exception):
    """A refusal that AWS would answer, with its code and HTTP status."""

    def __init__(self, code: str, message: str, status: int = 400) -> None:
        super().__init__(message)
        self.code = code
        self.message = message
        self.status = status


def parameters(form: Mapping[str, str]) -> dict[str, Any]:
    """The nested parameters that `Tags.member.1.Key=…` and the like spell out."""
    tree: dict[str, Any] = {}
    for name, value in form.items():
        *path, last = name.split(".")
        place = tree
        for part in path:
            place = place.setdefault(part, {})
        place[last] = value
    return {name: _lists(value) for name, value in tree.items()}


def _lists(value: Any) -> Any:
    if not isinstance(value, dict):
        return value
    if set(value) == {"member"}:
        members = value["member"]
        return [_lists(members[number]) for number in sorted(members, key=int)]
    return {name: _lists(inner) for name, inner in value.items()}


def answer(operation: str, result: Mapping[str, Any]) -> Response:
    """A successful reply, as the Query protocol writes it."""
    text = (
        f'<{operation}Response xmlns="{NAMESPACE}"><{operation}Result>{_xml(result)}'
        f"</{operation}Result><ResponseMetadata><RequestId>{uuid.uuid4()}</RequestId>"
        f"</ResponseMetadata></{operation}Response>"
    )
    return Response(text, content_type="text/xml")


def refusal(error: AwsError) -> Response:
    """An error reply, as the Query protocol writes it."""
    kind = "Sender" if error.status < 500 else "Receiver"
    text = (
        f'<ErrorResponse xmlns="{NAMESPACE}"><Error><Type>{kind}</Type><Code>{error.code}</Code>'
        f"<Message>{escape(error.message)}</Message></Error>"
        f"<RequestId>{uuid.uuid4()}</RequestId></ErrorResponse>"
    )
    return Response(text, status=error.status, content_type="text/xml")


def _xml(value: Any) -> str:
    if isinstance(value, Mapping):
        return "".join(
            f"<{name}>{_xml(inner)}</{name}>" for name, inner in value.items() if inner is not None
        )
    if isinstance(value, list | tuple):
        return "".join(f"<member>{_xml(inner)}</member>" for inner in value)
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, datetime):
        return iso(value)
    return escape(str(value))


def iso(instant: datetime) -> str:
    """The instant as AWS writes it: UTC, milliseconds, Z."""
    return instant.strftime("%Y-%m-%dT%H:%M:%S.") + f"{instant.microsecond // 1000:03d}Z"
