"""The environment with its secrets: read from other variables, files and commands when needed."""

import subprocess
import threading
from collections.abc import Iterator, Mapping
from pathlib import Path
from shlex import join
from typing import assert_never

from taly.errors import UsageError
from taly.model.secrets import FromCommand, FromFile, FromVariable, SecretSource
from taly.redaction import KNOWN, Secret, redact

COMMAND_TIMEOUT_S = 10.0
MAX_BYTES = 64 * 1024
"""A secret is a line, or a key: more is a mistake."""
STDERR_SHOWN = 400
"""Characters of what a failing command said."""


class Environ(Mapping[str, str]):
    """The process's environment, over which taly.toml's [secrets] stand. Safe from many threads.

    A secret is asked for once, and only when somebody needs it: a password manager may want a
    fingerprint. Each is known to the redactor before anybody else has it.
    """

    def __init__(
        self, given: Mapping[str, str], sources: Mapping[str, SecretSource] | None = None
    ) -> None:
        """`sources` by the names of the variables that they stand for, and that they hide."""
        self._given = dict(given)
        self._sources = dict(sources or {})
        self._found: dict[str, Secret] = {}
        self._locks = {name: threading.Lock() for name in self._sources}
        KNOWN.learn(self._given)

    def __getitem__(self, name: str) -> str:
        """The value; KeyError when there is none, UsageError when its source does not give it."""
        if name not in self._sources:
            return self._given[name]
        with self._locks[name]:
            if name not in self._found:
                self._found[name] = resolved(name, self._sources[name], self._given)
            return self._found[name].reveal()

    def __contains__(self, name: object) -> bool:
        return name in self._sources or name in self._given

    def __iter__(self) -> Iterator[str]:
        return iter({**self._given, **self._sources})

    def __len__(self) -> int:
        return len(self._given.keys() | self._sources.keys())

    def __repr__(self) -> str:
        return f"Environ({len(self)} variables)"


def resolved(name: str, source: SecretSource, environ: Mapping[str, str]) -> Secret:
    """The secret from where it is kept, without one line end; UsageError where that fails."""
    match source:
        case FromVariable(env=env):
            value = environ.get(env, "")
        case FromFile(file=file):
            value = _read(name, file)
        case FromCommand(command=command):
            value = _said(name, command, environ)
        case _:
            assert_never(source)
    value = value.removesuffix("\n").removesuffix("\r")
    if not value:
        raise UsageError(
            f"secrets.{name}: {described(source)} holds nothing",
            reference="secret-empty",
            hint=_by_hand(source),
        )
    if "\0" in value:
        raise UsageError(
            f"secrets.{name}: what {described(source)} holds is no text",
            reference="secret-unreadable",
            hint=_by_hand(source),
        )
    KNOWN.add(value)
    KNOWN.add_url(value)
    return Secret(value)


def described(source: SecretSource) -> str:
    """In words."""
    match source:
        case FromVariable(env=env):
            return f"the variable {env}"
        case FromFile(file=file):
            return file
        case FromCommand(command=command):
            return f"`{command[0]}`"


def _by_hand(source: SecretSource) -> str:
    match source:
        case FromVariable(env=env):
            return f"export {env}=…"
        case FromFile(file=file):
            return f"ls -l {file}"
        case FromCommand(command=command):
            return join(command)


def _read(name: str, file: str) -> str:
    try:
        with Path(file).open("rb") as stream:
            return _text(name, FromFile(file=file), stream.read(MAX_BYTES + 1))
    except OSError as error:
        raise UsageError(
            f"secrets.{name}: {file} cannot be read: {error.strerror}",
            reference="secret-unreadable",
            hint=_by_hand(FromFile(file=file)),
        ) from None


def _said(name: str, command: tuple[str, ...], environ: Mapping[str, str]) -> str:
    """What the command prints; what it says when it fails is shown, what it prints never is."""
    try:
        process = subprocess.Popen(
            command,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            env=dict(environ),
        )
    except (OSError, ValueError) as error:
        why = error.strerror if isinstance(error, OSError) else str(error)
        raise _failed(name, command, f"cannot be run: {why}") from None
    try:
        printed, complaint = process.communicate(timeout=COMMAND_TIMEOUT_S)
    except subprocess.TimeoutExpired:
        process.kill()
        _let_go(process)
        wait = f"{COMMAND_TIMEOUT_S:.0f} s"
        raise _failed(name, command, f"did not answer within {wait}") from None
    except BaseException:
        process.kill()
        _let_go(process)
        raise
    if process.returncode != 0:
        # A command may print the secret and fail all the same: then it is not to be shown either.
        KNOWN.add(printed.decode(errors="replace"))
        said = " ".join(complaint.decode(errors="replace").split())[-STDERR_SHOWN:]
        why = f"failed with {process.returncode}: {redact(said) or 'it said nothing'}"
        raise _failed(name, command, why)
    return _text(name, FromCommand(command=command), printed)


def _let_go(process: "subprocess.Popen[bytes]") -> None:
    """Not waiting for the end of its output: what it started may keep that open for ever."""
    for stream in (process.stdout, process.stderr):
        if stream is not None:
            stream.close()
    process.wait()


def _failed(name: str, command: tuple[str, ...], why: str) -> UsageError:
    return UsageError(
        f"secrets.{name}: `{command[0]}` {why}",
        reference="secret-command-failed",
        hint=_by_hand(FromCommand(command=command)),
    )


def _text(name: str, source: SecretSource, data: bytes) -> str:
    try:
        if len(data) > MAX_BYTES:
            raise ValueError
        return data.decode()
    except ValueError:
        raise UsageError(
            f"secrets.{name}: what {described(source)} holds is no text of at most"
            f" {MAX_BYTES // 1024} kB",
            reference="secret-unreadable",
            hint=_by_hand(source),
        ) from None
