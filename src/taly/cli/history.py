"""`taly record` and `taly mark`: what the team knows better than any history."""

import click

from taly.cli.options import environment_options, json_option, opened
from taly.cli.output import err, print_json
from taly.model.release import Mark


@click.command()
@click.option("--commit", required=True, help="The git commit that was deployed.")
@click.option("--label", default="", help="What your team calls it, e.g. v2026.47.")
@environment_options
@json_option
def record(commit: str, label: str, config_path: str, store: str, as_json: bool) -> None:
    """Pin what is live now as a release. For CI, right after a deploy that works.

    What is recorded is exact and wins over what histories suggest.
    """
    from taly.app.history import load_history
    from taly.app.history import record as record_release

    context = opened(config_path, store)
    recorded = record_release(context, commit=commit, label=label)
    names = {release.content_id: release.name for release in load_history(context).releases}
    name = names.get(recorded.content_id, "")
    if as_json:
        body = {"release": name, "commit": commit, "label": label, "members": recorded.members}
        print_json("record", body)
    else:
        err().print(f"{name}: {len(recorded.members)} components recorded as {commit[:12]}.")
        err().print("\nnext: [command]taly releases[/]")


@click.command()
@click.argument("release")
@click.argument("verdict", type=click.Choice([Mark.GOOD.value, Mark.BAD.value]))
@click.option("--why", required=True, help="The reason, for whoever reads it at 2 a.m.")
@environment_options
def mark(release: str, verdict: str, why: str, config_path: str, store: str) -> None:
    """Mark a release good or bad. A bad one is never the default target."""
    from taly.app.history import mark as mark_release

    marked = mark_release(opened(config_path, store), release, Mark(verdict), why)
    err().print(f"{marked.name} is marked {verdict}: {why}", markup=False)
    err().print("\nnext: [command]taly releases[/]")
