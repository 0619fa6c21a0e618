"""`taly report`: what happened, for those who were not there."""

import sys
from dataclasses import asdict
from pathlib import Path

import click

from taly.cli.controls import visible
from taly.cli.options import environment_options, json_option, opened
from taly.cli.output import err, print_json, write_file
from taly.errors import UsageError
from taly.planning.report import Report

MARKDOWN = (".md", ".markdown")
HTML = (".html", ".htm")


@click.command()
@click.argument("run_id", metavar="RUN")
@click.option(
    "-o",
    "--output",
    metavar="FILE",
    default="",
    help="Write it there: FILE.html stands alone and prints on A4, FILE.md is Markdown.",
)
@environment_options
@json_option
def report(run_id: str, output: str, config_path: str, store: str, as_json: bool) -> None:
    """Write the incident report of a run; as Markdown on stdout without --output.

    What was wrong, who did what, each step against its forecast, what was verified, what became of
    the databases, what stays frozen, what to do next. Nothing is asked of any vendor.
    """
    from taly.app.reports import report_of

    form = _form(output)
    made = report_of(opened(config_path, store), run_id)
    if output:
        write_file(Path(output), _drawn(made, form))
        err().print(f"{output} is written.", markup=False)
        err().print(f"\nnext: taly show {run_id}", markup=False)
    if as_json:
        print_json("report", asdict(made))
    elif not output:
        sys.stdout.write(visible(_drawn(made, form)))


def _form(output: str) -> str:
    suffix = Path(output).suffix.lower()
    if not output or suffix in MARKDOWN:
        return "markdown"
    if suffix in HTML:
        return "html"
    raise UsageError(
        f"{output}: a report is written as .md or .html",
        reference="report-format",
        hint="taly report RUN -o report.html",
    )


def _drawn(made: Report, form: str) -> str:
    if form == "html":
        from taly.cli.report_html import html

        return html(made)
    from taly.cli.report_markdown import markdown

    return markdown(made)
