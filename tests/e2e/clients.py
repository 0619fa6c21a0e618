"""The vendors' own command-line clients, installed once into the project's build directory."""

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

CLIENTS = Path(__file__).parents[2] / "build" / "clients"
AWS_CLI = "awscli==1.46.3"
OSLS = "osls@4.3.1"
PRISMA = ("prisma@6.19.3", "@prisma/adapter-pg@7.4.0")
"""Its schema engine is WebAssembly where an adapter reaches the database: no binary is fetched."""
INSTALL_TIMEOUT_S = 300.0


def aws_cli() -> list[str]:
    """The command that runs the AWS CLI."""
    folder = CLIENTS / AWS_CLI.replace("==", "-")
    pip = [sys.executable, "-m", "pip", "install", "--quiet", "--disable-pip-version-check"]
    # What it needs stands beside it, not among taly's own packages.
    _installed(folder, [*pip, "--ignore-installed", "--target", "{}", AWS_CLI])
    return [sys.executable, "-c", RUN_AWS, str(folder)]


RUN_AWS = (
    "import sys; sys.path.insert(0, sys.argv.pop(1)); "
    "from awscli.clidriver import main; sys.exit(main())"
)


def osls() -> list[str]:
    """The command that runs the Serverless Framework; skips where there is no Node."""
    if shutil.which("node") is None or shutil.which("npm") is None:
        pytest.skip("no Node on this machine")
    folder = CLIENTS / OSLS.replace("@", "-")
    npm = ["npm", "install", "--silent", "--no-audit", "--no-fund", "--prefix", "{}", OSLS]
    _installed(folder, npm)
    return [str(folder / "node_modules" / ".bin" / "osls")]


def prisma_cli() -> Path:
    """The `node_modules` that hold Prisma's command line; skips where there is no Node."""
    if shutil.which("node") is None or shutil.which("npm") is None:
        pytest.skip("no Node on this machine")
    folder = CLIENTS / PRISMA[0].replace("@", "-")
    npm = ["npm", "install", "--silent", "--no-audit", "--no-fund", "--ignore-scripts"]
    _installed(folder, [*npm, "--prefix", "{}", *PRISMA])
    return folder / "node_modules"


def _installed(folder: Path, command: list[str]) -> None:
    """Install it there unless it is there; half an installation never looks like a whole one."""
    if folder.exists():
        return
    made = folder.with_name(f"{folder.name}.{os.getpid()}")
    made.mkdir(parents=True)
    done = subprocess.run(
        [word.replace("{}", str(made)) for word in command],
        capture_output=True,
        text=True,
        timeout=INSTALL_TIMEOUT_S,
        check=False,
    )
    if done.returncode:
        shutil.rmtree(made)
        pytest.fail(
            f"{folder.name} cannot be installed, so nothing was shown of it: "
            f"{done.stdout[-500:]}{done.stderr[-1500:]}"
        )
    try:
        made.rename(folder)
    except OSError:  # another worker was faster
        if not folder.exists():
            raise
        shutil.rmtree(made)
