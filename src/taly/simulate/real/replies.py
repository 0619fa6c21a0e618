"""What the vendors answer when they do not do what was asked: each in its own form."""

import json
from datetime import datetime

from werkzeug.wrappers import Request, Response

from taly.sandbox.aws import service_of
from taly.simulate.canaries import CANARY
from taly.simulate.real.serverless_replies import stack_failure

AWS_CODES = {
    403: (400, "AccessDeniedException"),
    409: (400, "InvalidStateException"),
    429: (400, "ThrottlingException"),
    500: (500, "InternalServiceErrorException"),
    503: (503, "ServiceUnavailable"),
}
COMES_BACK_S = 3
SAID = f"token={CANARY} at https://user:{CANARY}@api.example/"


def failure(vendor: str, status: int, now: datetime, request: Request) -> Response:
    """The vendor's own failure of that status."""
    if vendor == "serverless":
        return stack_failure(service_of(request.environ), status, SAID)
    if vendor == "apprunner":
        real, code = AWS_CODES[status]
        body = json.dumps({"__type": code, "message": SAID})
        return Response(body, status=real, mimetype="application/x-amz-json-1.0")
    if status == 503:  # a proxy's page, not the API's words
        return Response(f"<h1>Unavailable</h1>{SAID}", status=503, mimetype="text/html")
    if vendor == "netlify":
        response = _json(status, {"code": status, "message": SAID})
        if status == 429:
            response.headers["X-RateLimit-Limit"] = "500"
            response.headers["X-RateLimit-Remaining"] = "0"
            response.headers["X-RateLimit-Reset"] = str(int(now.timestamp()) + COMES_BACK_S)
        return response
    response = _json(status, {"error": {"code": "refused", "message": SAID}})
    if status == 429:
        response.headers["Retry-After"] = str(COMES_BACK_S)
    return response


def _json(status: int, body: object) -> Response:
    return Response(json.dumps(body), status=status, mimetype="application/json")
