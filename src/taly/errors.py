"""Every way in which taly stops: one root error, a reference, a hint, an exit code.

The reference is a stable kebab-case word that the docs list; the hint is a command that can be run.
"""

from enum import IntEnum

from taly.redaction import redact

LONGEST = 15_000
"""Characters of a message: what others wrote may stand in one, and nobody reads more."""


class ExitCode(IntEnum):
    """What the process tells the shell; a failure never exits 0."""

    OK = 0
    BUG = 1
    USAGE = 2
    REFUSED = 3
    STEP_FAILED = 4
    VERIFICATION_FAILED = 5
    LOCKED = 6
    UNKNOWN = 7
    INTERRUPTED = 130


class TalyError(Exception):
    """The root of all errors that taly raises on purpose; no known secret gets into one."""

    exit_code = ExitCode.BUG

    def __init__(self, message: str, *, reference: str, hint: str = "") -> None:
        whole = redact(message)
        more = len(whole) - LONGEST
        self.message = whole if more <= 0 else f"{whole[:LONGEST]}… ({more} characters more)"
        super().__init__(self.message)
        self.reference = reference
        self.hint = redact(hint)


class UsageError(TalyError):
    """The command line, the configuration or a file given to us is wrong; nothing was touched."""

    exit_code = ExitCode.USAGE


class Refused(TalyError):
    """The plan cannot be made or must not run; nothing was touched."""

    exit_code = ExitCode.REFUSED


class StepFailed(TalyError):
    """A step failed; the run halted there."""

    exit_code = ExitCode.STEP_FAILED


class VerificationFailed(TalyError):
    """Every step was done, and the application still does not answer as the release should."""

    exit_code = ExitCode.VERIFICATION_FAILED


class EnvironmentLocked(TalyError):
    """Another run holds the environment."""

    exit_code = ExitCode.LOCKED


class OutcomeUnknown(TalyError):
    """A step's outcome could not be seen; `taly resume` settles it."""

    exit_code = ExitCode.UNKNOWN


class Interrupted(TalyError):
    """The user said stop; a run that was under way is kept, and can be resumed."""

    exit_code = ExitCode.INTERRUPTED


class VendorError(TalyError):
    """A vendor's API did not do as asked."""

    exit_code = ExitCode.STEP_FAILED


class VendorUnavailable(VendorError):
    """No answer, or a passing one (429, 5xx, connection lost): it may work later.

    For a write this says nothing about whether the write was applied.
    """


class VendorRefused(VendorError):
    """A final answer: the same request will be refused again (401, 403, 404, 409, 410, 422…)."""


class LeaseLost(BaseException):
    """Another process took the run over: stop at once and record nothing.

    A BaseException, so that no handler for ordinary failures records it as a step's result.
    """
