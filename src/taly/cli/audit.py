"""`taly audit`: who did what, and whether anything of it was altered since."""

import re
import sys
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING

import click
from rich.markup import escape

from taly.cli.options import environment_options, json_option, opened
from taly.cli.output import err, out, print_error, print_json
from taly.errors import ExitCode, UsageError, VerificationFailed

if TYPE_CHECKING:
    from taly.app.audit import Audited
    from taly.engine.audit import Walked

HASH = re.compile(r"[0-9a-fA-F]{64}")


@click.group()
def audit() -> None:
    """Who did what, and whether anything of it was altered since.

    \b
    taly audit verify                      # find what was altered, and where
    taly audit head                        # keep this elsewhere
    taly audit verify --head HASH          # nothing after it was cut off
    taly audit export > audit.jsonl
    taly audit verify --file audit.jsonl
    """


@audit.command(short_help="Was any entry altered, and which first?")
@click.option("--head", "heads", multiple=True, metavar="HASH", help="One that you kept.")
@click.option("--file", "file", metavar="FILE", default="", help="Verify an export, offline.")
@environment_options
@json_option
def verify(heads: tuple[str, ...], file: str, config_path: str, store: str, as_json: bool) -> int:
    """Compare every event with the hash that was kept of it; names the first that differs.

    Exit 5 when something was altered, removed, added or reordered.
    """
    from taly.app.audit import audited, audited_file

    for head in heads:
        if not HASH.fullmatch(head):
            raise UsageError(
                f"{head[:80]!r} is no hash of 64 hexadecimal digits",
                reference="usage",
                hint="taly audit head",
            )
    found = audited_file(Path(file), heads) if file else audited(opened(config_path, store), heads)
    if as_json:
        print_json("audit", _body(found))
    else:
        _print_all(found)
    wrong = found.unseen if found.is_intact else _broken(found)
    if wrong is not None:
        print_error(wrong)
        return int(wrong.exit_code)
    if not as_json:
        following = "taly audit export" if heads or file else "taly audit head"
        if not found.trails:
            following = "taly status"
        err().print(f"\nnext: [command]{following}[/]")
    return int(ExitCode.OK)


@audit.command(short_help="Print the newest entry's hash, to keep elsewhere.")
@environment_options
@json_option
def head(config_path: str, store: str, as_json: bool) -> None:
    """Print the hash of each trail's newest entry, to be kept where nobody here can write."""
    from taly.app.audit import trail_heads

    found = trail_heads(opened(config_path, store))
    if as_json:
        body = [{"environment": name, "position": at, "head": hash_} for name, at, hash_ in found]
        print_json("audit-head", {"heads": body})
        return
    for name, position, hash_ in found:
        out().print(f"{hash_} {position} {name}", markup=False, soft_wrap=True)
    if not found:
        out().print("There is nothing in the audit trail yet.")
    else:
        err().print(f"\nnext: [command]taly audit verify --head {found[0][2]}[/]", soft_wrap=True)


@audit.command(short_help="Print the trail, one entry a line.")
@click.option(
    "--format",
    "format_",
    type=click.Choice(["jsonl"]),
    default="jsonl",
    show_default=True,
    help="One entry a line, as JSON.",
)
@click.option("--since", default="", metavar="TIME", help="From the first not older on.")
@click.option(
    "--run", "run_id", default="", metavar="RUN", help="From its first to its last event."
)
@click.option("--environment", default="", metavar="NAME", help="Else taly.toml's.")
@environment_options
def export(
    format_: str, since: str, run_id: str, environment: str, config_path: str, store: str
) -> None:
    """Print the audit trail, one entry a line, for other systems to keep."""
    from taly.app.audit import exported

    context = opened(config_path, store)
    lines = exported(context, environment=environment, run=run_id, since=_instant(since))
    for line in lines:
        sys.stdout.write(line + "\n")


def _instant(text: str) -> datetime | None:
    if not text:
        return None
    try:
        found = datetime.fromisoformat(text)
    except ValueError as error:
        raise UsageError(
            f"{text!r} is no time",
            reference="usage",
            hint="taly audit export --since 2026-11-23T18:00",
        ) from error
    return found if found.tzinfo else found.replace(tzinfo=UTC)


def _print_all(found: "Audited") -> None:
    for one in found.trails:
        _print(one)
    if not found.trails:
        out().print("There is nothing in the audit trail yet.")
    if found.unproven:
        said = f"shared without a trail, so that nothing proves it: {', '.join(found.unproven)}"
        out().print(said, style="warn", markup=False)


def _print(one: "Walked") -> None:
    style = "good" if one.finding is None else "bad"
    word = "intact" if one.finding is None else "NOT INTACT"
    whose = f"  as {one.machine or 'a machine'} shared it" if one.trail else ""
    out().print(f"[name]{one.environment}[/]  [{style}]{word}[/]{escape(whose)}")
    acts = f" and {_count(one.acts, 'act')} outside runs" if one.acts else ""
    what = f"{_count(one.events, 'event')} of {_count(one.runs, 'run')}{acts}"
    out().print(f"  {what}, {one.first} to {one.last}")
    out().print(f"  head {one.head}", soft_wrap=True)
    for position in one.kept.values():
        out().print(f"  the head that you kept is entry {position}; {one.last - position} follow")
    if one.first > 1:
        out().print(f"  what was before entry {one.first} is not in this file", style="warn")
    if one.chained_from:
        out().print(
            f"  entries before {one.chained_from} are older than the chain: what was altered "
            "before the\n  store was upgraded cannot be seen",
            style="warn",
        )


def _count(number: int, what: str) -> str:
    return f"{number} {what}" if number == 1 else f"{number} {what}s"


def _broken(found: "Audited") -> VerificationFailed:
    says = [f"{_whose(one)}: {one.finding.says}" for one in found.trails if one.finding]
    says += [
        f"the head {head} that you kept stands in no trail: what was newest when you kept it "
        "was removed, or all was written anew"
        for head in found.lost_heads
    ]
    return VerificationFailed(
        "\n".join(says), reference="audit-broken", hint="taly audit export > audit.jsonl"
    )


def _whose(one: "Walked") -> str:
    if not one.trail:
        return one.environment
    return f"{one.environment}, {one.machine or 'another machine'}'s trail {one.trail[:12]}"


def _body(found: "Audited") -> dict[str, object]:
    return {
        "intact": found.is_intact,
        "lost_heads": list(found.lost_heads),
        "unproven": list(found.unproven),
        "unseen": found.unseen and found.unseen.message,
        "trails": [
            {
                "environment": one.environment,
                "machine": one.machine or None,
                "trail": one.trail or None,
                "intact": one.finding is None,
                "events": one.events,
                "acts": one.acts,
                "runs": one.runs,
                "first": one.first,
                "last": one.last,
                "head": one.head,
                "chained_from": one.chained_from or None,
                "kept_heads": dict(one.kept),
                "finding": one.finding
                and {
                    "kind": one.finding.kind,
                    "position": one.finding.position,
                    "run": one.finding.run or None,
                    "seq": one.finding.seq or None,
                    "says": one.finding.says,
                },
            }
            for one in found.trails
        ],
    }
