"""Every `taly …` that the docs or a hint tell someone to type is a command with such options."""

import ast
import re
import shlex
from collections.abc import Iterator
from pathlib import Path

import click
import pytest

from taly.cli.examples import EXAMPLES
from taly.cli.main import cli

ROOT = Path(__file__).parents[2]
MARKDOWN = [*sorted((ROOT / "docs").rglob("*.md")), ROOT / "README.md", ROOT / "CHANGELOG.md"]
PROSE = {"reads", "names", "itself", "needs", "does", "is"}
"""Words that follow `taly` in sentences of the code."""


def problem(line: str, *, whole: bool) -> str:
    """What is wrong with a command line; empty when nothing is.

    `whole`: it can be typed as it stands; else values and arguments may be missing.
    """
    command: click.Command = cli
    context = click.Context(cli, info_name="taly", **cli.context_settings)
    words = shlex.split(re.split(r" [>|] ", line)[0], comments=True)[1:]
    while isinstance(command, click.Group) and words and not words[0].startswith("-"):
        name = words.pop(0)
        child = command.get_command(context, name)
        if child is None:
            return f"there is no command {name!r}"
        command, context = child, click.Context(child, info_name=name, parent=context)
    try:
        _, left, _ = command.make_parser(context).parse_args(args=list(words))
    except click.BadOptionUsage as error:
        return error.format_message() if whole else ""
    except click.UsageError as error:
        return error.format_message()
    takes = sum(isinstance(param, click.Argument) for param in command.params)
    return f"too many words: {left}" if len(left) > 0 and not takes else ""


def typed(text: str) -> Iterator[str]:
    """Command lines in fenced blocks."""
    for block in re.findall(r"^```(?:console|sh|yaml)\n(.*?)^```", text, re.MULTILINE | re.DOTALL):
        for line in block.replace("\\\n", " ").splitlines():
            found = re.match(r"\s*(?:- run: )?\$?\s*(taly( .*)?)$", line)
            if found:
                yield found.group(1)


def mentioned(text: str) -> set[str]:
    """Commands named within sentences."""
    without_blocks = re.sub(r"^```.*?^```", "", text, flags=re.MULTILINE | re.DOTALL)
    return set(re.findall(r"`(taly(?: [^`\n]+)?)`", without_blocks))


@pytest.mark.parametrize("page", MARKDOWN, ids=lambda page: page.name)
def test_every_command_line_of_the_docs_can_be_typed(page: Path) -> None:
    text = page.read_text(encoding="utf-8")
    wrong = {line: problem(line, whole=True) for line in typed(text)}
    wrong |= {line: problem(line, whole=False) for line in mentioned(text)}
    assert not {line: why for line, why in wrong.items() if why}


def test_every_hint_names_a_command_that_there_is() -> None:
    wrong = {}
    for path in sorted((ROOT / "src").rglob("*.py")):
        for hint in hints(path):
            why = problem(hint, whole=False)
            if why:
                wrong[f"{path.name}: {hint}"] = why
    assert not wrong


def hints(path: Path) -> Iterator[str]:
    """Every text in the code that begins like a command line, cut at the first aside."""
    tree = ast.parse(path.read_text(encoding="utf-8"))
    for node in ast.walk(tree):
        if isinstance(node, ast.Constant) and isinstance(node.value, str):
            text = node.value
        elif isinstance(node, ast.JoinedStr):
            parts = [p.value if isinstance(p, ast.Constant) else "X" for p in node.values]
            text = "".join(str(part) for part in parts)
        else:
            continue
        found = re.match(r"taly ([a-z-]+)[^,:;(\n]*", text)
        if found and found.group(1) not in PROSE:
            yield found.group(0)


def test_a_mistake_would_be_seen() -> None:
    assert problem("taly doctor", whole=False)
    assert problem("taly plan --too R3", whole=False)
    assert problem("taly mark R2 bad --why", whole=True)
    assert not problem("taly mark R2 bad --why 'double charges'  # said", whole=True)
    assert "taly rollback --to last-good" in list(
        typed("```console\n$ taly rollback --to last-good\n```")
    )


def helps(command: click.Command, parent: click.Context, name: str) -> Iterator[tuple[str, str]]:
    """Path and help of a command, and of all below it, on a terminal of 80 columns."""
    context = click.Context(
        command, info_name=name, parent=parent, terminal_width=80, max_content_width=80
    )
    yield context.command_path, command.get_help(context)
    if isinstance(command, click.Group):
        for inner in command.list_commands(context):
            child = command.get_command(context, inner)
            assert child is not None
            yield from helps(child, context, inner)


def every_help() -> dict[str, str]:
    root = click.Context(cli, info_name="taly", **cli.context_settings)
    found = dict[str, str]()
    for name in cli.list_commands(root):
        command = cli.get_command(root, name)
        assert command is not None
        found |= dict(helps(command, root, name))
    return found


def test_every_help_fits_a_terminal_and_cuts_nothing_off() -> None:
    for path, text in every_help().items():
        assert max(map(len, text.splitlines())) <= 80, path
        assert "..." not in re.sub(r"\[ARGS\]\.\.\.|\[OPTIONS\]\.\.\.", "", text), path


def test_every_command_has_an_example_that_can_be_typed() -> None:
    shown = every_help()
    groups = {path.rpartition(" ")[0] for path in shown}
    for path, text in shown.items():
        lines = re.findall(r"^ +(taly .+)$", text, re.MULTILINE)
        assert lines or path in groups or path == "taly completion", path
        assert not [why for line in lines if (why := problem(line, whole=True))], path
    assert EXAMPLES.keys() <= {path.removeprefix("taly ") for path in shown}
