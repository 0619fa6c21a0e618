"""What a sandbox leaves in its directory: taly.toml, sandbox.env and sandbox.json."""

import json
import os
import shutil
from contextlib import suppress
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any

import tomlkit

from taly.sandbox.ci import CONFIG
from taly.sandbox.running import ENVIRON, STATUS, Running, exports
from taly.sandbox.writers import FILE as WRITERS_LOG

if TYPE_CHECKING:
    from taly.sandbox.platform import Platform


def write_config(platform: "Platform") -> None:
    """Write taly.toml, before the past is replayed: its CI runs taly there."""
    (platform.directory / CONFIG).write_text(taly_toml(platform), "utf-8")


def write_all(platform: "Platform") -> Running:
    """Write the other files; sandbox.json last, since it says that the sandbox is ready."""
    directory = platform.directory
    _write_private(directory / ENVIRON, exports(platform.environ()))
    running = Running(
        pid=os.getpid(),
        scenario=platform.scenario.name,
        description=platform.scenario.description,
        speed=platform.world.clock.speed,
        directory=str(directory),
        control=platform.control_url,
        token=platform.token,
        environ_file=str(directory / ENVIRON),
        urls={
            entry.name: url
            for entry in platform.scenario.components
            if (url := platform.url(entry.name))
        },
    )
    _write_private(directory / STATUS, json.dumps(asdict(running), indent=1) + "\n")
    return running


def forget(directory: Path) -> None:
    """Remove what an earlier sandbox left here: its migrations, taly's record of its runs…"""
    for name in ("prisma", ".taly"):
        shutil.rmtree(directory / name, ignore_errors=True)
    (directory / WRITERS_LOG).unlink(missing_ok=True)
    clear(directory)


def clear(directory: Path) -> None:
    """Remove what holds secrets or says that a sandbox is ready."""
    for name in (STATUS, ENVIRON):
        with suppress(FileNotFoundError):
            (directory / name).unlink()


def _write_private(path: Path, text: str) -> None:
    """Write so that no other user can ever read it, and that nobody sees half of it."""
    part = path.with_name(path.name + ".part")
    with suppress(FileNotFoundError):
        part.unlink()
    with os.fdopen(os.open(part, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "w") as file:
        file.write(text)
    part.replace(path)


def taly_toml(platform: "Platform") -> str:
    """The configuration with which taly works on this platform."""
    document = tomlkit.document()
    document.add(tomlkit.comment("Written by `taly sandbox up`; the next one overwrites it."))
    document["environment"] = "production"
    document["sandbox"] = {"control": platform.control_url}
    document["policy"] = {"on_failure": "halt"}
    components = tomlkit.table(is_super_table=True)
    for entry in platform.scenario.components:
        emulator = platform.emulator_of(entry.name)
        table = tomlkit.table()
        settings = emulator.settings(entry.name).items()
        inside = {key: value.removeprefix(f"{platform.directory}/") for key, value in settings}
        table.update({"provider": entry.vendor, **inside})
        if entry.after:
            table["after"] = entry.after
        if health := _health(entry.vendor, emulator.url(entry.name)):
            table["health"] = health
        components[entry.name] = table
    document["components"] = components
    return tomlkit.dumps(document)


def _health(vendor: str, url: str) -> Any:
    """How to ask the component itself; None for those that cannot be asked."""
    if not url:
        return None
    health = tomlkit.table()
    if vendor == "apprunner":
        expect = tomlkit.inline_table()
        expect.update({"status": "ok", "version": "{commit}"})
        health.update({"url": f"{url}/health", "expect": expect})
        return health
    if vendor in ("netlify", "vercel"):
        health.update({"url": url, "contains": "{commit}"})
        return health
    return None
