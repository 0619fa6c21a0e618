"""The port: where a backup is made readable that is no file and no database of the live server."""

from collections.abc import Callable
from typing import Protocol

from taly.database.connection import Target
from taly.model.ports import Say

Find = Callable[..., None]
"""Takes a finding's code, a sentence and a hint."""


class Source(Protocol):
    """A server for a while. What it holds is only read, and it never becomes the live one."""

    def check(self, find: Find) -> None:
        """Tell `find` why it could not be opened. Read only."""
        ...

    def open(self, say: Say) -> Target:
        """Bring it up, or take over what an earlier process began, and wait until it answers.

        Raises VendorRefused, VendorUnavailable, and what `say` raises; `close` it all the same.
        """
        ...

    def close(self, say: Say) -> str:
        """Take it away, and only what is ours. The command that does where we could not."""
        ...
