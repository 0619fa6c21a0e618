"""What a team's shared place must be able to do: objects, written under conditions."""

from dataclasses import dataclass
from typing import Protocol

from taly.errors import OutcomeUnknown

UNREACHABLE = "shared-unreachable"


@dataclass(frozen=True, slots=True)
class Stored:
    """An object as it was read."""

    body: bytes
    tag: str
    """Changes with every write that changes the body (S3's ETag)."""


class Changed(Exception):
    """The object is not as the write demanded: surely nothing was written by it."""


class Objects(Protocol):
    """Objects under one prefix; reads see every write that was answered.

    Safe to use from many threads. No answer raises OutcomeUnknown `shared-unreachable`: a write may
    then have been applied. UsageError `shared-refused` when the place refuses us.
    """

    @property
    def place(self) -> str:
        """What people call it: `s3://bucket/prefix`."""
        ...

    def get(self, key: str) -> Stored | None:
        """The object, or None where there is none."""
        ...

    def put(self, key: str, body: bytes, *, over: str | None) -> str:
        """Write over the object with that tag, None = where there is none; the new tag.

        Sent once. Raises Changed.
        """
        ...

    def overwrite(self, key: str, body: bytes) -> None:
        """Write, whatever there is."""
        ...

    def keys(self, prefix: str) -> list[str]:
        """The keys that begin so, in order."""
        ...


def unreachable(what: str, error: Exception | None = None) -> OutcomeUnknown:
    """The error for a shared place that does not answer."""
    said = f" ({error})" if error else ""
    return OutcomeUnknown(
        f"{what}{said}",
        reference=UNREACHABLE,
        hint="taly status; without `shared` in taly.toml the lock is this machine's alone",
    )
