"""Where taly.toml says that a secret is to be found: never the secret itself."""

from dataclasses import dataclass


@dataclass(frozen=True, slots=True, kw_only=True)
class FromVariable:
    """In another variable of the environment."""

    env: str


@dataclass(frozen=True, slots=True, kw_only=True)
class FromFile:
    """In a file, as containers and CI systems mount them."""

    file: str
    """Absolute path."""


@dataclass(frozen=True, slots=True, kw_only=True)
class FromCommand:
    """On the standard output of a command of a password manager."""

    command: tuple[str, ...]
    """The program and its arguments; no shell is involved."""


SecretSource = FromVariable | FromFile | FromCommand
