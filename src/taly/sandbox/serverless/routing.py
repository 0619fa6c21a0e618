"""What a request to AWS is: its operation, whether it only reads, the component it is about."""

import json
import re
from collections.abc import Iterable
from functools import cache
from typing import Any
from urllib.parse import unquote

from werkzeug.wrappers import Request, Response

from taly.sandbox.aws import service_of
from taly.sandbox.serverless.query import AwsError
from taly.sandbox.serverless.query import refusal as query_refusal
from taly.sandbox.serverless.service import Service
from taly.sandbox.world import Fault

READS = ("Get", "List", "Describe", "Head", "Query", "Scan", "BatchGet", "Validate", "Detect")
SERVICES = {
    "cloudformation": "CloudFormation",
    "dynamodb": "DynamoDB",
    "iam": "IAM",
    "lambda": "Lambda",
    "logs": "Logs",
    "s3": "S3",
    "sqs": "SQS",
    "ssm": "SSM",
    "sts": "STS",
}
_SCOPE_REGION = re.compile(r"[^/]+/\d{8}/([^/]+)/[^/]+/aws4_request")
_CODES = {400: "ValidationError", 403: "AccessDenied", 429: "Throttling", 503: "ServiceUnavailable"}


def service_and_region(request: Request, default_region: str) -> tuple[str, str]:
    """The service that the request is signed for (unsigned is S3), and the region."""
    scope = _SCOPE_REGION.search(request.headers.get("Authorization", ""))
    return service_of(request.environ) or "s3", scope[1] if scope else default_region


def operation(request: Request, service: str) -> str:
    """The operation's name; for S3 the method and path, which say more."""
    if service == "s3":
        query = request.query_string.decode()
        return f"{request.method} {request.path}" + (f"?{query}" if query else "")
    if service == "lambda":
        return _rest_operation("lambda", request.method, request.path)
    if target := request.headers.get("X-Amz-Target", ""):
        return target.rpartition(".")[2]
    return request.form.get("Action", "") or f"{request.method} {request.path}"


def title(service: str, name: str) -> str:
    """The journal's target, e.g. `CloudFormation.ExecuteChangeSet`."""
    return f"{SERVICES.get(service, service)}.{name}"


def reads_only(request: Request, service: str, name: str) -> bool:
    """Whether the operation cannot change anything."""
    if service in ("s3", "lambda"):
        return request.method in ("GET", "HEAD")
    return name.startswith(READS)


def component_of(request: Request, services: Iterable[Service], buckets: dict[str, str]) -> str:
    """The component that the request names: by stack, function, key prefix or bucket."""
    text = unquote(f"{request.path}?{request.query_string.decode()}&{_form(request)}")
    for one in sorted(services, key=lambda one: -len(one.stack)):
        if one.prefix in text or re.search(rf"\b{re.escape(one.stack)}\b", text):
            return one.component
    return buckets.get(request.path.lstrip("/").split("/")[0], "")


def body_for_journal(request: Request) -> Any:
    """The JSON body without code; None for anything else."""
    if "json" not in (request.content_type or ""):
        return None
    try:
        body = json.loads(request.get_data(cache=True) or b"null")
    except ValueError:
        return None
    if isinstance(body, dict):
        body.pop("ZipFile", None)
    return body


def refused(request: Request, fault: Fault) -> Response:
    """An injected refusal, in the form of the service that was asked."""
    service = service_of(request.environ) or "s3"
    code = str(fault.settings.get("code") or _CODES.get(fault.status, "InternalFailure"))
    message = "injected by the sandbox"
    if service == "cloudformation":
        return query_refusal(AwsError(code, message, fault.status))
    if service == "s3":
        text = f"<Error><Code>{code}</Code><Message>{message}</Message></Error>"
        return Response(text, status=fault.status, content_type="application/xml")
    return Response(
        json.dumps({"__type": code, "message": message}),
        status=fault.status,
        content_type="application/json",
        headers={"x-amzn-errortype": code},
    )


def _form(request: Request) -> str:
    form = request.form
    return "&".join(
        f"{name}={form[name]}" for name in ("StackName", "ChangeSetName") if name in form
    )


@cache
def _rest_routes(service: str) -> list[tuple[str, re.Pattern[str], str]]:
    from botocore.session import get_session

    model = get_session().get_service_model(service)
    routes = []
    for name in model.operation_names:
        http = model.operation_model(name).http
        path = http["requestUri"].split("?")[0]
        pattern = re.sub(r"\\\{[^}]*\\\}", "[^/]+", re.escape(path).rstrip("/"))
        routes.append((http["method"], re.compile(pattern + "/?$"), name))
    return routes


def _rest_operation(service: str, method: str, path: str) -> str:
    for wanted, pattern, name in _rest_routes(service):
        if wanted == method and pattern.match(path):
            return name
    return f"{method} {path}"
