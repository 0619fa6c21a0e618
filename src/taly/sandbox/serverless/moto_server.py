"""The real moto server in this process, under an account of its own, on the virtual clock."""

import itertools
from datetime import UTC, datetime
from functools import cache
from io import BytesIO
from typing import Any

from moto.awslambda.models import lambda_backends
from moto.moto_server.werkzeug_app import DomainDispatcherApplication, create_backend_app
from moto.s3.exceptions import MissingBucket
from moto.s3.models import s3_backends
from werkzeug.wrappers import Request, Response

_ACCOUNTS = itertools.count(123456789012)
"""moto's state belongs to the process: an account each keeps two sandboxes in one apart."""

SHA_METADATA = "x-amz-meta-filesha256"


@cache
def _application() -> DomainDispatcherApplication:
    """moto's dispatcher keeps no state of its own, only the Flask applications that it made."""
    return DomainDispatcherApplication(create_backend_app)


class MotoServer:
    """moto's WSGI application and the few of its objects that need a touch from outside."""

    def __init__(self) -> None:
        self.account = str(next(_ACCOUNTS))
        self._app = _application()

    def call(self, request: Request) -> Response:
        """moto's own answer to the request."""
        data = request.get_data(cache=True)
        environ = {
            **request.environ,
            "wsgi.input": BytesIO(data),
            "CONTENT_LENGTH": str(len(data)),
            "HTTP_X_MOTO_ACCOUNT_ID": self.account,
        }
        environ.pop("HTTP_TRANSFER_ENCODING", None)
        return Response.from_app(self._app, environ, buffered=True)

    @property
    def s3(self) -> Any:
        """moto's S3 of this account."""
        return s3_backends[self.account]["aws"]

    def functions(self, region: str) -> Any:
        """moto's storage of Lambda functions in that region."""
        return lambda_backends[self.account][region]._lambdas

    def function(self, region: str, name: str) -> Any | None:
        """moto's object of the function's $LATEST, or None."""
        found = self.functions(region)._functions.get(name)
        return found["latest"] if found else None

    def put(self, bucket: str, key: str, body: bytes, sha256: str, at: datetime) -> None:
        """Store an object with the metadata that the framework gives it."""
        stored = self.s3.put_object(bucket, key, body)
        stored.set_metadata({SHA_METADATA: sha256})
        self.stamp(bucket, key, at)

    def stamp(self, bucket: str, key: str, at: datetime) -> None:
        """Set an object's LastModified: moto takes the machine's time."""
        found = self.object(bucket, key)
        if found is not None:
            found.last_modified = at.astimezone(UTC).replace(tzinfo=None)

    def object(self, bucket: str, key: str) -> Any | None:
        """moto's object of that key, or None."""
        try:
            return self.s3.get_bucket(bucket).keys.get(key)
        except MissingBucket:
            return None

    def read(self, bucket: str, key: str) -> bytes | None:
        """The object's bytes, or None."""
        found = self.object(bucket, key)
        return None if found is None else bytes(found.value)

    def keys(self, bucket: str, prefix: str) -> list[str]:
        """The keys under a prefix, in order."""
        try:
            return sorted(key for key in self.s3.get_bucket(bucket).keys if key.startswith(prefix))
        except MissingBucket:
            return []

    def delete(self, bucket: str, key: str) -> None:
        """Remove an object for good."""
        if self.object(bucket, key) is not None:
            self.s3.get_bucket(bucket).keys.pop(key)


def lambda_time(at: datetime) -> str:
    """The instant as Lambda writes LastModified: `2026-07-01T12:00:00.000+0000`."""
    utc = at.astimezone(UTC)
    return utc.strftime("%Y-%m-%dT%H:%M:%S.") + f"{utc.microsecond // 1000:03d}+0000"
