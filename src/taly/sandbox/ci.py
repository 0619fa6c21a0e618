"""The platform's CI, as far as a database is concerned: `taly checkpoint` around a migration."""

import os
import subprocess
import sys
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

KEPT_ENV = ("PATH", "HOME", "LANG", "PYTHONPATH", "VIRTUAL_ENV", "TMPDIR")
CONFIG = "taly.toml"
TIMEOUT_S = 120.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Said:
    """How a command of CI's ended."""

    code: int
    text: str
    """What it wrote on stderr."""

    @property
    def brief(self) -> str:
        """Its last words, in one line."""
        return " ".join(self.text.split())[-300:]


@dataclass(frozen=True, slots=True, kw_only=True)
class Ci:
    """Runs taly as a pipeline does: in the checkout, with nothing but what the job is given."""

    directory: Path
    """Where taly.toml lies."""
    environ: Mapping[str, str] = field(repr=False)

    def before(self, commit: str, backup: str) -> Said:
        """`taly checkpoint`, the step before `prisma migrate deploy`."""
        return self._taly("checkpoint", "--commit", commit, "--backup", backup)

    def after(self) -> Said:
        """`taly checkpoint --after`, right behind it."""
        return self._taly("checkpoint", "--after")

    def _taly(self, *arguments: str) -> Said:
        kept = {name: os.environ[name] for name in KEPT_ENV if name in os.environ}
        done = subprocess.run(
            [sys.executable, "-m", "taly", *arguments, "--config", str(self.directory / CONFIG)],
            cwd=self.directory,
            env={**kept, "NO_COLOR": "1", **self.environ},
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            timeout=TIMEOUT_S,
            check=False,
        )
        return Said(code=done.returncode, text=done.stderr)
