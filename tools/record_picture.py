"""Records what a terminal shows of a rollback as docs/rollback.svg: `make picture`.

Everything in the picture is printed by a real run on the sandbox.
"""

import os
import re
import subprocess
import sys
import tempfile
from pathlib import Path

from rich.console import Console
from rich.text import Text

from taly.sandbox.client import ControlClient
from taly.sandbox.running import read_running

PICTURE = Path(__file__).parent.parent / "docs" / "rollback.svg"
SPEED = "100"


def main() -> int:
    """Start a sandbox, roll it back, and draw what was printed."""
    console = Console(record=True, width=84, file=sys.stderr, force_terminal=True)
    with tempfile.TemporaryDirectory(prefix="taly-picture-") as folder:
        environ = {**os.environ, "FORCE_COLOR": "1", "COLUMNS": "80", "TERM": "xterm-256color"}
        environ.pop("NO_COLOR", None)
        _taly(["sandbox", "up", "--detach", "--dir", folder, "--speed", SPEED], folder, environ)
        try:
            running = read_running(Path(folder))
            assert running is not None
            environ |= ControlClient(running.control, running.token).environ()
            for command in (["status"], ["rollback", "--yes"]):
                console.print(Text(f"$ taly {' '.join(command)}", style="bold cyan"))
                console.print(Text.from_ansi(_end(_taly(command, folder, environ))))
        finally:
            _taly(["sandbox", "down", "--dir", folder], folder, environ)
    PICTURE.write_text(_without_fonts(console.export_svg(title="taly")), encoding="utf-8")
    return 0


def _end(printed: str) -> str:
    """A rollback prints its plan first, which is longer than a picture: that is left out."""
    lines = printed.splitlines()
    plain = [Text.from_ansi(line).plain for line in lines]
    heads = [number for number, line in enumerate(plain) if line.startswith("  step ")]
    if not heads:
        return printed
    left_out = f"… and {heads[0] - 1} lines that say what will be done, counted and forecast"
    return "\n".join([lines[0], left_out, "", *lines[heads[0] :]])


def _without_fonts(svg: str) -> str:
    """Rich names a font on a server of others'; a picture in a README must load nothing."""
    return re.sub(r"@font-face \{.*?\}\s*", "", svg, flags=re.DOTALL).replace(
        "font-family: Fira Code, monospace", "font-family: ui-monospace, Menlo, Consolas, monospace"
    )


def _taly(arguments: list[str], folder: str, environ: dict[str, str]) -> str:
    done = subprocess.run(
        [sys.executable, "-m", "taly", *arguments],
        cwd=folder,
        env=environ,
        stdout=subprocess.PIPE,
        stderr=None,
        text=True,
        check=True,
    )
    return done.stdout


if __name__ == "__main__":
    sys.exit(main())
