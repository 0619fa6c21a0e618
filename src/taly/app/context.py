"""The composition root: taly.toml, the process environment, and what is made of them."""

import json
import os
import threading
import urllib.error
import urllib.request
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field, replace
from functools import cached_property
from pathlib import Path

import stamina

from taly.app.shared import store_of
from taly.clock import ScaledClock, SystemClock
from taly.config import Config, find_config, load_config
from taly.engine.identity import by_of, identity_of
from taly.engine.store import Store
from taly.errors import UsageError
from taly.model.environment import Environment
from taly.model.events import Identity
from taly.model.ports import Clock, Provider
from taly.providers.base import provider_factory
from taly.redaction import KNOWN
from taly.secrets import Environ, resolved
from taly.transport import CA_FILE, check_sandboxed, with_ca


@dataclass
class Context:
    """Everything a use case needs; parts are made when first asked for."""

    config: Config
    clock: Clock
    environ: Mapping[str, str] = field(repr=False)
    speed: float = 1.0
    """How many times faster than real time the clock runs; 1 outside a sandbox."""
    _providers: dict[str, Provider] = field(default_factory=dict, repr=False)
    _lock: threading.Lock = field(default_factory=threading.Lock, repr=False)

    @property
    def environment(self) -> Environment:
        """The environment that taly.toml declares."""
        return self.config.environment

    @cached_property
    def store(self) -> Store:
        """Where runs, releases' names and marks are kept."""
        return store_of(self.config, self.environ)

    def provider(self, name: str) -> Provider:
        """The provider of that name; made once, whichever thread asks first.

        Raises UsageError when there is none of that name.
        """
        with self._lock:
            if name not in self._providers:
                if self.config.sandbox_control:
                    check_sandboxed(name, self.environ)
                self._providers[name] = provider_factory(name)(self.environ, self.clock)
            return self._providers[name]

    @property
    def providers(self) -> Mapping[str, Provider]:
        """One provider for each vendor that the environment uses."""
        names = {component.provider for component in self.environment.components}
        return {name: self.provider(name) for name in sorted(names)}

    @property
    def ca_file(self) -> str:
        """Certificates that are trusted besides the machine's own; empty = none."""
        return self.environ.get(CA_FILE, "")

    @property
    def by(self) -> str:
        """Who acts: the CI's user where there is one, else the operating system's."""
        return by_of(self.identity)

    @cached_property
    def identity(self) -> Identity:
        """Who acts, in full, as the audit trail keeps it."""
        return identity_of(self.environ)


def open_context(
    *, config_path: str = "", store: str = "", environ: Mapping[str, str] | None = None
) -> Context:
    """Read taly.toml and make a context; nothing is asked of any vendor yet.

    Raises UsageError when the configuration is missing or wrong, or its sandbox is not running.
    """
    given = os.environ if environ is None else environ
    stamina.instrumentation.set_on_retry_hooks(())  # theirs would log to stdout, amid our data
    config = load_config(Path(config_path) if config_path else find_config(Path.cwd()))
    known = Environ({**given, **network_of(config)}, config.secrets)
    if store:
        config = replace(config, store=store)
    elif config.store_source is not None:
        config = replace(config, store=resolved("store", config.store_source, known).reveal())
    KNOWN.add_url(config.store)
    config = replace(config, store=with_ca(config.store, known.get(CA_FILE, ""), known))
    KNOWN.spare(words_of(config))
    control = config.sandbox_control
    if not control:
        return Context(config=config, clock=SystemClock(), environ=known)
    clock = sandbox_clock(control)
    return Context(config=config, clock=clock, environ=known, speed=clock.speed)


def network_of(config: Config) -> Mapping[str, str]:
    """What taly.toml says of the network, under the names that everybody who needs it reads."""
    return {CA_FILE: config.ca_file} if config.ca_file else {}


def words_of(config: Config) -> Iterator[str]:
    """Names that stand in every output, and that nobody's password is to black out."""
    yield config.environment.name
    for component in config.environment.components:
        yield component.name
        yield component.provider
        yield from component.settings.values()


def sandbox_clock(control: str) -> ScaledClock:
    """A clock in step with the sandbox's; UsageError when no sandbox answers there."""
    try:
        with urllib.request.urlopen(f"{control}/_sandbox/clock", timeout=5) as reply:
            return ScaledClock.in_step(json.load(reply))
    except (OSError, ValueError, LookupError, TypeError) as error:
        raise UsageError(
            f"taly.toml belongs to a sandbox at {control}, and none answers there",
            reference="sandbox-down",
            hint="taly sandbox up --detach",
        ) from error
