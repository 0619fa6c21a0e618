"""The shared place on Amazon S3: conditional writes, and reads that see them at once.

`PutObject` with `If-None-Match: *` writes only where there is nothing, with `If-Match: etag` only
over what was read; else 412, 409 when another write was under way, 404 when the object is gone
(user guide, "How to prevent object overwrites with conditional writes"). Reads are strongly
consistent (user guide, "Amazon S3 data consistency model"). An object that is not there answers 404
only to callers who may list the bucket; 403 to others.
"""

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any

from taly.aws import AwsClients, aws_errors
from taly.engine.shared.holding import unreadable
from taly.engine.shared.objects import Changed, Stored, unreachable
from taly.errors import UsageError, VendorRefused, VendorUnavailable

GONE = (404,)
CONFLICT = (404, 409, 412)
MAX_BYTES = 64 * 2**20
"""Of one object: a run of a thousand components has about 6 MB."""
CHUNK = 2**20
MISSING_BUCKET = "NoSuchBucket"


class S3Objects:
    """Objects under a prefix of a bucket; see `objects.Objects`."""

    def __init__(
        self, environ: Mapping[str, str], url: str, *, region: str = "", timeout_s: float = 5.0
    ) -> None:
        """`url` is s3://bucket/prefix. `timeout_s`: real seconds to wait for one answer."""
        self.place = url
        self._bucket, _, prefix = url.removeprefix("s3://").partition("/")
        self._prefix = f"{prefix}/" if prefix else ""
        self._clients, self._region, self._timeout_s = AwsClients(environ), region, timeout_s

    def get(self, key: str) -> Stored | None:
        """The object, or None."""
        with self._told(f"reading {self.place}/{key}"):
            try:
                answer = self._client(attempts=2).get_object(**self._named(key))
                return Stored(_whole(answer["Body"], f"{self.place}/{key}"), answer["ETag"])
            except self._client_error() as error:
                if _status(error) in GONE and _code(error) != MISSING_BUCKET:
                    return None
                raise

    def put(self, key: str, body: bytes, *, over: str | None) -> str:
        """Write under a condition, once; the new tag."""
        condition = {"IfNoneMatch": "*"} if over is None else {"IfMatch": over}
        with self._told(f"writing {self.place}/{key}"):
            try:
                answer = self._client(attempts=1).put_object(
                    **self._named(key), **self._content(body), **condition
                )
            except self._client_error() as error:
                if _status(error) in CONFLICT and _code(error) != MISSING_BUCKET:
                    raise Changed(_code(error)) from error
                raise
            return str(answer["ETag"])

    def overwrite(self, key: str, body: bytes) -> None:
        """Write, whatever there is."""
        with self._told(f"writing {self.place}/{key}"):
            self._client(attempts=2).put_object(**self._named(key), **self._content(body))

    def keys(self, prefix: str) -> list[str]:
        """The keys that begin so, in order."""
        with self._told(f"listing {self.place}/{prefix}"):
            pages = self._client(attempts=2).get_paginator("list_objects_v2")
            found = pages.paginate(Bucket=self._bucket, Prefix=f"{self._prefix}{prefix}")
            return [
                one["Key"].removeprefix(self._prefix)
                for page in found
                for one in page.get("Contents", ())
            ]

    def _client(self, *, attempts: int) -> Any:
        return self._clients.client(
            "s3", self._region, attempts=attempts, read_timeout_s=self._timeout_s
        )

    def _named(self, key: str) -> dict[str, str]:
        return {"Bucket": self._bucket, "Key": f"{self._prefix}{key}"}

    def _content(self, body: bytes) -> dict[str, Any]:
        return {"Body": body, "ContentType": "application/json"}

    def _client_error(self) -> type[Any]:
        from botocore.exceptions import ClientError  # a tenth of a second: only when S3 is asked

        error: type[Any] = ClientError
        return error

    @contextmanager
    def _told(self, what: str) -> Iterator[None]:
        try:
            with aws_errors("S3"):
                yield
        except VendorUnavailable as error:
            raise unreachable(f"{what}: {self.place} does not answer", error) from error
        except VendorRefused as error:
            raise UsageError(
                f"{what} was refused: {error.message}",
                reference="shared-refused",
                hint="taly permissions",
            ) from error


def _whole(stream: Any, place: str) -> bytes:
    """All of an object; UsageError once it is longer than any of ours.

    It is read up to where nothing comes: only there botocore sees that an answer was cut off.
    """
    body = bytearray()
    while chunk := stream.read(CHUNK):
        body += chunk
        if len(body) > MAX_BYTES:
            stream.close()
            raise unreadable(place, "it is far too long")
    return bytes(body)


def _status(error: Any) -> int:
    return int(error.response.get("ResponseMetadata", {}).get("HTTPStatusCode", 0))


def _code(error: Any) -> str:
    return str(error.response.get("Error", {}).get("Code", ""))
