"""A PostgreSQL cluster that initdb made once: the tests' servers begin with a copy of it.

initdb takes a second of processor time, and every sandbox has a server of its own. That taly's
server makes its cluster itself is shown in test_postgres_server.py and test_sandbox_cli.py.
"""

import os
import subprocess
from pathlib import Path

from taly.sandbox import postgres
from taly.sandbox.binaries import find_binaries, unprivileged_account
from taly.sandbox.server import Server

PREPARED = "PREPARED_CLUSTER"
"""The variable that says where it lies."""
PASSWORD = "password.txt"


class Prepared(Server):
    """A cluster that is made and never started."""

    def prepare(self) -> None:
        """Make it, and say where it lies to every process that is started from now on."""
        self._account = unprivileged_account()
        self._home = self._make_home()
        self._make_reachable()
        self._make_cluster()
        (self._home / PASSWORD).write_text(self.password)
        os.environ[PREPARED] = str(self._home)


class Copied(Server):
    """A server that begins with a copy of it; its password is the same."""

    def _make_cluster(self) -> None:
        prepared = Path(os.environ[PREPARED])
        subprocess.run(["cp", "-Rp", str(prepared / "data"), str(self.data)], check=True)
        self.password = (prepared / PASSWORD).read_text()


def find_copied(directory: Path) -> Server:
    """A server, not yet started, as `taly.sandbox.server.find_server` gives one."""
    kind = Copied if PREPARED in os.environ else Server
    return kind(directory, find_binaries())


def make_sandboxes_copy() -> None:
    """From now on the sandboxes of this process have such servers."""
    postgres.find_server = find_copied
