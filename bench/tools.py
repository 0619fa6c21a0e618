"""The vendors' command-line clients, from the registries, in a directory of bench's own."""

import subprocess
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

TOOLS = Path(__file__).parents[1] / "build" / "bench-tools"
INSTALL_TIMEOUT_S = 600.0
NPM: Mapping[str, tuple[str, str]] = {
    "serverless": ("osls@4.3.1", "osls"),
    "vercel": ("vercel@48.12.1", "vercel"),
    "netlify": ("netlify-cli@26.2.0", "netlify"),
}
"""Vendor → package and command."""
AWS_CLI = "awscli==1.46.3"


@dataclass(frozen=True, slots=True, kw_only=True)
class Client:
    """One vendor's client."""

    vendor: str
    package: str
    command: Path | None
    """None when it could not be installed."""
    why: str = ""


def install() -> dict[str, Client]:
    """Vendor → its client; what is there already is not installed again."""
    TOOLS.mkdir(parents=True, exist_ok=True)
    found = {vendor: _npm(vendor, *NPM[vendor]) for vendor in NPM}
    found["apprunner"] = _aws()
    return found


def _npm(vendor: str, package: str, command: str) -> Client:
    folder = TOOLS / package.replace("@", "-")
    binary = folder / "node_modules" / ".bin" / command
    argv = ["npm", "install", "--no-fund", "--no-audit", "--prefix", str(folder), package]
    return _installed(vendor, package, binary, [argv])


def _aws() -> Client:
    folder = TOOLS / AWS_CLI.replace("==", "-")
    steps = [
        [sys.executable, "-m", "venv", str(folder)],
        [str(folder / "bin" / "pip"), "install", "--quiet", AWS_CLI],
    ]
    return _installed("apprunner", AWS_CLI, folder / "bin" / "aws", steps)


def _installed(vendor: str, package: str, binary: Path, steps: list[list[str]]) -> Client:
    why = ""
    try:
        for argv in [] if binary.exists() else steps:
            subprocess.run(
                argv, check=True, capture_output=True, text=True, timeout=INSTALL_TIMEOUT_S
            )
    except subprocess.CalledProcessError as error:
        why = [str(error), *(error.stderr or error.stdout).strip().splitlines()][-1]
    except (OSError, subprocess.TimeoutExpired) as error:
        why = str(error)
    if why or not binary.exists():
        return Client(vendor=vendor, package=package, command=None, why=why or "no such command")
    return Client(vendor=vendor, package=package, command=binary)
