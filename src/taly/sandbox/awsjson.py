"""AWS's JSON protocols as an emulator needs them: targets, errors, pages, times.

The wire format is botocore's `json` protocol: the operation stands in `X-Amz-Target`, a timestamp
is a number of epoch seconds, an error names its shape in `__type`.
"""

import base64
import json
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any, TypeVar

from werkzeug.wrappers import Request, Response


class AwsError(Exception):
    """What the emulated service answers instead of a result."""

    def __init__(self, code: str, message: str, *, status: int = 400) -> None:
        super().__init__(message)
        self.code = code
        self.message = message
        self.status = status


@dataclass(frozen=True, slots=True, kw_only=True)
class Result:
    """What an operation answers."""

    body: Mapping[str, Any]
    wrote: bool = False
    """Whether the service's state changed because of it."""


T = TypeVar("T")
Action = Callable[[Mapping[str, Any]], Result]


def target_of(request: Request) -> tuple[str, str]:
    """(service prefix, operation) of a request; two empty texts if it names none."""
    prefix, _, operation = request.headers.get("X-Amz-Target", "").rpartition(".")
    return prefix, operation


def parsed(request: Request) -> dict[str, Any]:
    """The request's body as JSON; an empty object when it is none."""
    try:
        body = json.loads(request.get_data(cache=True) or b"{}")
    except ValueError:
        return {}
    return body if isinstance(body, dict) else {}


def answer(version: str, body: Mapping[str, Any], status: int = 200) -> Response:
    """A reply in JSON 1.0 or 1.1."""
    return Response(json.dumps(body), status=status, mimetype=f"application/x-amz-json-{version}")


def refusal(version: str, error: AwsError) -> Response:
    """An error reply, in the shape from which every AWS client reads code and message."""
    return answer(version, {"__type": error.code, "message": error.message}, error.status)


def epoch(at: datetime | None) -> float | None:
    """A timestamp as it goes over the wire, to the millisecond."""
    return None if at is None else round(at.timestamp(), 3)


def without_none(value: Mapping[str, Any]) -> dict[str, Any]:
    """The members that have a value: AWS leaves the others out."""
    return {key: inner for key, inner in value.items() if inner is not None}


def page(
    items: Sequence[T], *, size: int, token: str | None, bad_token: str
) -> tuple[list[T], str | None]:
    """One page, and the token of the next one; AwsError of code `bad_token` for a made-up token."""
    start = 0
    if token:
        try:
            start = int(base64.b64decode(token.encode(), validate=True))
        except ValueError:
            raise AwsError(bad_token, "The token is not valid.") from None
    end = start + size
    following = base64.b64encode(str(end).encode()).decode() if end < len(items) else None
    return list(items[start:end]), following


def camel_lower(value: Any) -> Any:
    """Keys as CloudTrail writes them: the first letter in lower case."""
    if isinstance(value, Mapping):
        return {_lower_first(key): camel_lower(inner) for key, inner in value.items()}
    if isinstance(value, list):
        return [camel_lower(inner) for inner in value]
    return value


def _lower_first(key: str) -> str:
    return re.sub("^.", lambda match: match.group().lower(), key)
