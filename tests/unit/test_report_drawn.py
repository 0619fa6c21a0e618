"""A report as Markdown, HTML and SVG: complete, well-formed, and deaf to what names say."""

import re
from dataclasses import asdict, fields, is_dataclass, replace
from html.parser import HTMLParser
from typing import Any
from xml.etree import ElementTree as ET

import pytest
from hypothesis import example, given
from hypothesis import strategies as st
from markdown_it import MarkdownIt
from report_scene import START, Story, failed, platform_plan, succeeded, undo_of

from taly.cli.report_chart import chart
from taly.cli.report_html import html
from taly.cli.report_markdown import escaped, markdown
from taly.cli.report_page import printable
from taly.model.environment import HealthCheck
from taly.model.events import LeaseTaken
from taly.model.plan import ConfigChange, ConfigChangeKind
from taly.model.release import Mark
from taly.planning.report import Report, Said

SVG = "{http://www.w3.org/2000/svg}"
VOID = {"meta", "br", "hr", "img", "link", "input"}
HOSTILE = (
    "</title></style><script>alert(1)</script>\"'><img src=x onerror=alert(1)>|`a`[x](javascript:y)"
    "![p](http://evil/p.png)\n# not a heading\n```\n\u202eevil\x1b[31m\x00\ud800 @team www.evil.com"
)
CANARY = "CANARYSECRET"


class Strict(HTMLParser):
    """Every tag that is opened is closed, in order; what there is, by name."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.open: list[str] = []
        self.seen: list[tuple[str, dict[str, str | None]]] = []
        self.words = ""
        self.feed(text)
        self.close()
        assert not self.open

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.seen.append((tag, dict(attrs)))
        if tag not in VOID:
            self.open.append(tag)

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.seen.append((tag, dict(attrs)))

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag

    def handle_data(self, data: str) -> None:
        self.words += data


def spoiled(value: Any, text: str) -> Any:
    """The same data with every text in it replaced, apart from the words that taly itself sets."""
    if is_dataclass(value) and not isinstance(value, type):
        kept = {"outcome", "purpose", "phase"}
        changed = {
            one.name: spoiled(getattr(value, one.name), text)
            for one in fields(value)
            if one.name not in kept
        }
        return replace(value, **changed)
    if isinstance(value, tuple):
        return tuple(spoiled(one, text) for one in value)
    if isinstance(value, dict):
        return {text + key: spoiled(one, text) for key, one in value.items()}
    return text if type(value) is str else value


def reports() -> dict[str, Report]:
    said = Said(mark=Mark.BAD, why="double charges", by="ada", at=START, by_people=True)
    story = succeeded()
    idle = Story(platform_plan()).begin().say(LeaseTaken(owner="bob"), after_s=90)
    return {
        "succeeded": story.report(said=said),
        "undone": story.report([undo_of(story)]),
        "failed": failed().report(),
        "under way": idle.report(),
        "nothing": Story(replace(platform_plan(), steps=(), components=())).begin().report(),
    }


@pytest.mark.parametrize("name", reports())
class TestEveryReport:
    def test_the_page_is_well_formed_and_stands_alone(self, name: str) -> None:
        page = html(reports()[name])
        seen = Strict(page).seen
        tags = {tag for tag, _ in seen}
        assert not tags & {"script", "link", "img", "iframe", "object", "form", "a"}
        assert not {key for _, given in seen for key in given} & {"src", "href", "onload"}
        assert "@import" not in page
        assert re.findall(r"url\((?!#waits\))", page) == []
        assert "default-src 'none'" in page

    def test_the_picture_is_xml(self, name: str) -> None:
        root = ET.fromstring(chart(reports()[name]))
        assert root.tag == f"{SVG}svg"
        widths = [float(rect.get("width", "0")) for rect in root.iter(f"{SVG}rect")]
        assert widths
        assert min(widths) > 0

    def test_all_hostile_texts_stay_texts(self, name: str) -> None:
        bad: Report = spoiled(reports()[name], HOSTILE)
        parsed = Strict(html(bad))
        assert not {"script", "img", "a"} & {tag for tag, _ in parsed.seen}
        assert "alert(1)</script>" in parsed.words
        ET.fromstring(chart(bad))
        said = markdown(bad)
        said.encode("utf-8")
        assert not re.search(r"[\x00-\x09\x0b-\x1f\u202e]", said)
        plain, bad_page = MarkdownIt("gfm-like", {"linkify": False}), said
        tokens = plain.parse(bad_page)
        inner = [child for token in tokens for child in token.children or ()]
        kinds = {token.type for token in (*tokens, *inner)}
        assert not kinds & {"html_block", "html_inline", "link_open", "image"}
        good = plain.parse(markdown(reports()[name]))
        for kind in ("heading_open", "table_open", "tr_open", "td_open", "fence"):
            assert sum(t.type == kind for t in tokens) == sum(t.type == kind for t in good), kind


def test_two_bars_a_step_failed_red_and_waits_hatched() -> None:
    def count(report: Report, word: str) -> int:
        rects = ET.fromstring(chart(report)).iter(f"{SVG}rect")
        return sum(word in (rect.get("class") or "").split() for rect in rects)

    made = reports()
    steps = len(made["succeeded"].steps)
    assert count(made["succeeded"], "forecast") == count(made["succeeded"], "done") == steps
    assert count(made["succeeded"], "wait") == sum(len(s.waits) for s in made["succeeded"].steps)
    assert (count(made["failed"], "done"), count(made["failed"], "failed")) == (1, 1)
    assert count(made["failed"], "forecast") == steps
    assert count(made["under way"], "idle") == 1


def test_everything_that_was_asked_for_is_in_both() -> None:
    report = reports()["succeeded"]
    for text in (markdown(report).replace("\\", ""), Strict(html(report)).words):
        for said in (
            "marked bad by ada",
            "double charges",
            "by ada on laptop",
            report.plan_digest[:12],
            "R2 → R1",
            "it is as wanted",
            "1,204 rows carried over",
            "19 rows to the rescue bundle",
            "/srv/app/.taly/rescue/run-1-db",
            "writers waited 0.84 s",
            "put aside as app_taly_run_1, 2.3 GB",
            "Auto-deploys are held on web, api",
            "taly unfreeze",
            "taly rescue replay run-1",
            "taly forget run-1",
            "taly undo run-1",
        ):
            assert said in text, said


def test_it_reads_in_the_dark_and_prints_on_a4() -> None:
    page = html(reports()["succeeded"])
    assert "prefers-color-scheme: dark" in page
    assert "size: A4" in page
    assert "@media print" in page


def test_no_value_of_a_configuration_gets_into_it() -> None:
    plan = platform_plan()
    steps = [
        replace(
            step,
            address={**step.address, "url": CANARY},
            health=HealthCheck(url=f"http://x/{CANARY}", header={"X": CANARY}, contains=CANARY),
        )
        for step in plan.steps
    ]
    parts = [
        replace(one, config=(ConfigChange(name="STRIPE", kind=ConfigChangeKind.CHANGED),))
        for one in plan.components
    ]
    report = succeeded(replace(plan, steps=tuple(steps), components=tuple(parts))).report()
    assert CANARY not in f"{markdown(report)}{html(report)}{asdict(report)}"


@example("__0__")
@given(st.text())
def test_markdown_shows_any_text_as_it_is(text: str) -> None:
    (token,) = [
        t for t in MarkdownIt("commonmark").parse(f"x {escaped(text)}") if t.type == "inline"
    ]
    assert {child.type for child in token.children or ()} <= {"text", "text_special"}
    assert (
        "".join(child.content for child in token.children or ()) == f"x {printable(text)}".strip()
    )


@given(st.text(alphabet=st.characters()))
def test_any_name_leaves_the_picture_and_the_page_well_formed(text: str) -> None:
    report = spoiled(failed().report(), text)
    ET.fromstring(chart(report))
    Strict(html(report))
