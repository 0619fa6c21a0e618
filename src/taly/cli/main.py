"""`taly`: the commands, and the one place where errors become exit codes."""

import gc
import os
import sys

import click

from taly import __version__
from taly.cli.lazy import LazyGroup
from taly.cli.output import err, print_error
from taly.errors import ExitCode, TalyError

COMMANDS = {
    "status": "taly.cli.discover:status",
    "releases": "taly.cli.discover:releases",
    "plan": "taly.cli.plan:plan",
    "rollback": "taly.cli.rollback:rollback",
    "runs": "taly.cli.runs:runs",
    "show": "taly.cli.runs:show",
    "resume": "taly.cli.rollback:resume",
    "cancel": "taly.cli.runs:cancel",
    "undo": "taly.cli.rollback:undo",
    "unfreeze": "taly.cli.rollback:unfreeze",
    "record": "taly.cli.history:record",
    "mark": "taly.cli.history:mark",
    "init": "taly.cli.init:init",
    "sandbox": "taly.cli.sandbox:sandbox",
    "demo": "taly.cli.demo:demo",
    "completion": "taly.cli.completion:completion",
}
"""Command → where it lives; imported only when it is called, so that `taly status` starts fast."""


@click.group(
    cls=LazyGroup,
    commands_from=COMMANDS,
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


def _bug(error: Exception) -> TalyError:
    return TalyError(
        f"taly itself broke: {type(error).__name__}: {error}\n"
        "  A run that was under way is kept; `taly runs` shows it, `taly resume` goes on.",
        reference="bug",
        hint="the same command with TALY_DEBUG=1 shows where, for a report",
    )


def run(arguments: list[str]) -> int:
    """Run one command line; its exit code."""
    try:
        code = cli.main(args=arguments, prog_name="taly", standalone_mode=False)
    except TalyError as error:
        print_error(error)
        return int(error.exit_code)
    except click.ClickException as error:
        error.show()
        return int(ExitCode.USAGE)
    except (click.exceptions.Abort, KeyboardInterrupt):
        err().print("interrupted", style="warn")
        return int(ExitCode.INTERRUPTED)
    except BrokenPipeError:
        sys.stderr.close()
        return int(ExitCode.INTERRUPTED)
    except Exception as error:
        if os.environ.get("TALY_DEBUG"):
            raise
        print_error(_bug(error))
        return int(ExitCode.BUG)
    return int(code) if isinstance(code, int) else int(ExitCode.OK)
