"""One front door for all of AWS: one `AWS_ENDPOINT_URL`, routed by the signature's service."""

import json
import re
from collections.abc import Iterable, Mapping
from typing import Any
from urllib.parse import parse_qs
from wsgiref.types import StartResponse, WSGIEnvironment

from werkzeug.wrappers import Response

_SCOPE = re.compile(r"[^/]+/\d{8}/[^/]+/([^/]+)/aws4_request")


class FrontDoor:
    """A WSGI application that hands each request to the emulator of the service it is signed for.

    The credential scope of Signature Version 4 (`AKID/date/region/SERVICE/aws4_request`, in the
    Authorization header or in `X-Amz-Credential` of a presigned URL) names the service. See the
    IAM user guide, "Elements of an AWS API request signature".
    """

    def __init__(self, *, by_service: Mapping[str, Any], otherwise: Any | None) -> None:
        """`otherwise` takes every other service, and requests that are not signed (S3 reads)."""
        self._by_service = by_service
        self._otherwise = otherwise

    def __call__(self, environ: WSGIEnvironment, start_response: StartResponse) -> Iterable[bytes]:
        service = service_of(environ)
        app = self._by_service.get(service, self._otherwise)
        if app is None:
            app = _not_emulated(service)
        answer: Iterable[bytes] = app(environ, start_response)
        return answer


def service_of(environ: WSGIEnvironment) -> str:
    """The service that the request is signed for; empty when it is not signed."""
    query = parse_qs(environ.get("QUERY_STRING", ""))
    for where in (environ.get("HTTP_AUTHORIZATION", ""), *query.get("X-Amz-Credential", [])):
        if found := _SCOPE.search(where):
            return found[1]
    return ""


def _not_emulated(service: str) -> Response:
    message = f"this sandbox does not emulate {service or 'unsigned requests'}"
    return Response(
        json.dumps({"__type": "UnknownServiceException", "message": message}),
        status=404,
        content_type="application/x-amz-json-1.1",
    )
