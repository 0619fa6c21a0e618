"""What CloudFormation, Lambda and S3 answer when they do not do what was asked."""

import json
from collections.abc import Mapping

from werkzeug.wrappers import Response

from taly.sandbox.serverless.query import AwsError
from taly.sandbox.serverless.query import refusal as query_refusal

BUSY = "Stack:arn:aws:cloudformation:eu-central-1:1:stack/x is in UPDATE_IN_PROGRESS state and can"
CLOUDFORMATION: Mapping[int, tuple[int, str]] = {
    403: (403, "AccessDenied"),
    409: (400, "ValidationError"),
    429: (400, "Throttling"),
    500: (500, "InternalFailure"),
    503: (503, "ServiceUnavailable"),
}
"""CloudFormation's API reference, "Common errors": throttled is a 400."""
S3: Mapping[int, tuple[int, str]] = {
    403: (403, "AccessDenied"),
    429: (503, "SlowDown"),
    500: (500, "InternalError"),
    503: (503, "ServiceUnavailable"),
}
"""S3's API reference, "List of error codes": throttled is a 503."""
LAMBDA: Mapping[int, tuple[int, str]] = {
    403: (403, "AccessDeniedException"),
    429: (429, "TooManyRequestsException"),
    500: (500, "ServiceException"),
    503: (503, "ServiceUnavailableException"),
}
"""Lambda's API reference, GetFunctionConfiguration."""


def stack_failure(service: str, status: int, said: str) -> Response:
    """The failure of that status as this service of AWS words it."""
    if service == "cloudformation":
        real, code = CLOUDFORMATION[status]
        text = f"{BUSY} not be updated. {said}" if status == 409 else said
        return query_refusal(AwsError(code, text, real))
    if service == "s3":
        real, code = S3[status]
        text = f"<Error><Code>{code}</Code><Message>{said}</Message></Error>"
        return Response(text, status=real, content_type="application/xml")
    real, code = LAMBDA[status]
    return Response(
        json.dumps({"Type": "User", "message": said}),
        status=real,
        content_type="application/json",
        headers={"x-amzn-errortype": code, **({"Retry-After": "1"} if status == 429 else {})},
    )
