"""`taly`: the commands, and the one place where errors become exit codes."""

import gc
import os
import sys
import traceback
from contextlib import suppress
from io import StringIO

import click

from taly import __version__
from taly.cli.controls import visible
from taly.cli.lazy import LazyGroup
from taly.cli.output import err, print_error, print_error_json
from taly.cli.sinks import clean_output
from taly.cli.typed import refuse_passwords
from taly.errors import ExitCode, Interrupted, TalyError, UsageError
from taly.redaction import redact

COMMANDS = {
    "status": ("taly.cli.discover:status", "What is live, and does it answer?"),
    "releases": (
        "taly.cli.discover:releases",
        "What was live before, and what can be gone back to?",
    ),
    "plan": ("taly.cli.plan:plan", "What would going back do? Touches nothing."),
    "rollback": ("taly.cli.rollback:rollback", "Go back, and verify every component."),
    "undo": ("taly.cli.rollback:undo", "Take a whole run back."),
    "unfreeze": ("taly.cli.rollback:unfreeze", "Give auto-deploys back as they were."),
    "runs": ("taly.cli.runs:runs", "List the runs."),
    "show": ("taly.cli.runs:show", "Show one run, step by step."),
    "follow": ("taly.cli.remote:follow", "Watch a run that another process works on."),
    "resume": ("taly.cli.rollback:resume", "Go on with a run that was interrupted or killed."),
    "cancel": ("taly.cli.runs:cancel", "Ask a run to stop."),
    "report": ("taly.cli.report:report", "Write the incident report of a run."),
    "metrics": ("taly.cli.metrics:metrics", "Figures over all runs: time to restore, outcomes."),
    "checkpoint": ("taly.cli.checkpoint:checkpoint", "Keep what a migration may destroy."),
    "database": ("taly.cli.database:database", "Look at the database alone: verdict, schema."),
    "rescue": ("taly.cli.rescue:rescue", "What a rollback set aside, and how it comes back."),
    "forget": ("taly.cli.forget:forget", "Drop the database that a run put aside."),
    "init": ("taly.cli.init:init", "Write a taly.toml from your checkout and vendors."),
    "permissions": (
        "taly.cli.permissions:permissions",
        "The least that taly must be allowed to do.",
    ),
    "record": ("taly.cli.history:record", "Pin what is live as a release (for CI)."),
    "mark": ("taly.cli.history:mark", "Mark a release good or bad."),
    "worker": ("taly.cli.worker:worker", "Take runs from a team's queue."),
    "workers": ("taly.cli.worker:workers", "List the workers."),
    "audit": ("taly.cli.audit:audit", "Who did what, and was anything of it altered?"),
    "demo": ("taly.cli.demo:demo", "See it all on an emulated platform."),
    "sandbox": ("taly.cli.sandbox:sandbox", "Run an emulated platform on this machine."),
    "completion": ("taly.cli.completion:completion", "Print a shell's completion script."),
}
"""Command → where it lives, and what `--help` says of it.

Imported only when it is called, so that `taly status` starts fast.
"""

SECTIONS = {
    "status": "In an incident",
    "runs": "A run, while it lasts and afterwards",
    "checkpoint": "The database",
    "init": "Beforehand",
    "worker": "With a team",
    "demo": "Try it",
}
"""First command of a section of `--help` → its heading."""


@click.group(
    cls=LazyGroup,
    commands_from=COMMANDS,
    sections=SECTIONS,
    context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 80},
)
@click.version_option(__version__, prog_name="taly")
def cli() -> None:
    """Take a whole platform back to a release that worked.

    \b
    What is wrong?            taly status
    What can I go back to?    taly releases
    What would happen?        taly plan
    Do it.                    taly rollback
    """


GARBAGE_AFTER = 50_000
"""New objects after which Python looks for cycles: with its own 700, imports and vendors' answers
keep it looking for a tenth of a short command's time."""


def main() -> None:
    """Run the command line and exit with its code: a failure never exits 0."""
    gc.set_threshold(GARBAGE_AFTER)
    sys.exit(run(sys.argv[1:]))


def _bug(error: BaseException) -> TalyError:
    return TalyError(
        f"taly itself broke: {type(error).__name__}: {error}\n"
        "  A run that was under way is kept; `taly runs` shows it, `taly resume` goes on.",
        reference="bug",
        hint="the same command with TALY_DEBUG=1 shows where, for a report",
    )


def _misused(error: click.ClickException) -> TalyError:
    context = getattr(error, "ctx", None)
    command = context.command_path if context else "taly"
    return UsageError(error.format_message(), reference="usage", hint=f"{command} --help")


def run(arguments: list[str]) -> int:
    """Run one command line; its exit code. What it prints holds no known secret."""
    with clean_output(arguments):
        return _run(arguments)


def _run(arguments: list[str]) -> int:
    try:
        refuse_passwords(arguments)
        code = cli.main(args=arguments, prog_name="taly", standalone_mode=False)
        sys.stdout.flush()
    except SystemExit:  # how Click and Rich leave when nobody reads on: `taly status | head -1`
        return int(ExitCode.INTERRUPTED)
    except (Exception, KeyboardInterrupt) as error:
        if os.environ.get("TALY_DEBUG") and _is_bug(error):
            sys.stderr.write(redact(visible("".join(traceback.format_exception(error)))))
        told = _told(error, arguments)
        if "--json" in arguments:
            with suppress(OSError):  # stdout itself may be what failed
                print_error_json(told)
        return int(told.exit_code)
    return int(code) if isinstance(code, int) else int(ExitCode.OK)


def _is_bug(error: BaseException) -> bool:
    return not isinstance(
        error, TalyError | click.ClickException | click.exceptions.Abort | KeyboardInterrupt
    )


def _told(error: BaseException, arguments: list[str]) -> TalyError:
    """The error as one of ours, after its reader was told of it on stderr."""
    match error:
        case click.exceptions.NoArgsIsHelpError():
            said = StringIO()
            error.show(said)
            sys.stderr.write(redact(visible(said.getvalue())))
            return _misused(error)
        case click.ClickException():
            told = _misused(error)
        case click.exceptions.Abort() | KeyboardInterrupt():
            err().print("interrupted", style="warn")
            err().print("\nnext: [command]taly runs[/]")
            return Interrupted("interrupted", reference="interrupted", hint="taly runs")
        case TalyError():
            told = error
        case _:
            told = _bug(error)
    print_error(told)
    return told
