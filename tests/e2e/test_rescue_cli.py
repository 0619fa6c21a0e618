"""`taly rescue`: list, show, replay, as a user types them."""

import json
import os
import re
from collections.abc import Callable
from datetime import timedelta
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import pytest

from taly.cli.main import run
from tests.contract.rescue_stage import NOW, RUN, Stage, begin, table
from tests.e2e.test_json_docs import check

TOML = """

environment = "production"

[components.database]
provider = "postgres"
"""
PETS = table("pets", {"id": "integer", "name": "text", "chip": "text"}, "id")
TOYS = table('odd "t', {"x": "integer"})
STEPS = ("revert:database:2_toys", "revert:database:1_pets")

Taly = Callable[..., tuple[int, str, str]]


@pytest.fixture
def stage(tmp_path: Path, postgres_url: str, monkeypatch: pytest.MonkeyPatch) -> Stage:
    (tmp_path / "taly.toml").write_text(TOML)
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("DATABASE_URL", postgres_url)
    stage = Stage(base=tmp_path / ".taly" / "rescue", url=postgres_url)
    stage.run("CREATE TABLE pets (id integer PRIMARY KEY, name text, chip text)")
    stage.run("INSERT INTO pets VALUES (1, 'Rex', NULL), (2, 'Mia', 'newer')")
    return stage


@pytest.fixture
def taly(capsys: pytest.CaptureFixture[str]) -> Taly:
    def type_(*arguments: str) -> tuple[int, str, str]:
        code = run(list(arguments))
        said = capsys.readouterr()
        return code, said.out, said.err

    return type_


@pytest.fixture
def filled(stage: Stage) -> Stage:
    toys, pets = (begin(stage.base, step=step) for step in STEPS)
    toys.table(TOYS).add("row", ("7",), why="the table goes")
    file = pets.table(PETS)
    why = "the column chip goes"
    for i in ("1", "2"):
        base = {"id": i, "name": "Rex"} if i == "1" else None
        file.add("columns", (i, f"c{i}"), why=why, columns=("id", "chip"), base=base)
    file.add("row", ("3", "\x1b[31m日本\n", None), why="status is new: 'lost'")
    for bundle in (toys, pets):
        bundle._about = {**bundle._about, "made_at": NOW + timedelta(seconds=bundle is pets)}
        bundle.finish()
        bundle.confirm()
    return stage


def answer(taly: Taly, *arguments: str) -> dict[str, Any]:
    _, printed, _ = taly("rescue", *arguments, "--json")
    body: dict[str, Any] = json.loads(printed)
    return body


def test_nothing_was_set_aside(stage: Stage, taly: Taly) -> None:
    code, printed, said = taly("rescue", "list")
    assert code == 0
    assert "no rescue bundles" in printed
    assert "taly status" in said
    assert taly("rescue", "show", RUN)[0] == taly("rescue", "replay", RUN, "--yes")[0] == 2


def test_list_show_dry_run_replay(filled: Stage, taly: Taly) -> None:
    code, printed, said = taly("rescue", "list")
    assert code == 0
    assert printed.count(RUN) == 2
    assert f"next: taly rescue show {RUN}" in said

    code, printed, said = taly("rescue", "show", RUN)
    assert code == 0
    assert "2 × the column chip goes" in printed
    assert "NULL" in printed
    assert "\x1b[31m" not in printed
    assert f"next: taly rescue replay {RUN} --dry-run" in said

    code, _, said = taly("rescue", "replay", RUN, "--dry-run")
    assert code == 5
    assert "taken back" in said
    assert "the table is not there" in said
    assert "newer: public.pets id 2: chip is newer, rescued was c2" in " ".join(said.split())
    assert filled.run("SELECT count(*) FROM pets") == [(2,)]

    filled.run('CREATE TABLE "odd ""t" (x integer)')
    code, _, said = taly("rescue", "replay", RUN, "--yes")
    assert code == 0
    assert "next: taly status" in said
    assert filled.run("SELECT id, chip FROM pets ORDER BY id") == [
        (1, "c1"),
        (2, "newer"),
        (3, None),
    ]
    assert filled.run('SELECT * FROM "odd ""t"') == [(7,)]
    code, _, said = taly("rescue", "replay", RUN, "--yes")
    assert code == 0
    assert "were put back before" in said


def test_one_table_only(filled: Stage, taly: Taly) -> None:
    assert taly("rescue", "replay", RUN, "--table", "public.pets", "--yes")[0] == 0
    code, _, said = taly("rescue", "replay", RUN, "--table", "nope", "--yes")
    assert code == 2
    assert "public.pets" in said
    code, printed, _ = taly("rescue", "show", RUN, "--table", "pets", "--limit", "0")
    assert code == 0
    assert "Rex" not in printed
    assert taly("rescue", "show", RUN, "--table", "nope")[0] == 2


def test_json_is_as_documented(filled: Stage, taly: Taly) -> None:
    listed = answer(taly, "list")
    (filled.base / RUN / "broken").mkdir()
    broken = answer(taly, "list")
    (filled.base / RUN / "broken").rmdir()
    assert len(broken["unreadable"]) == 1
    check("rescues", listed, broken)
    check("rescue", answer(taly, "show", RUN))
    dry = answer(taly, "replay", RUN, "--dry-run")
    filled.run("CREATE FUNCTION f() RETURNS trigger LANGUAGE plpgsql AS 'BEGIN RETURN NEW; END'")
    filled.run("ALTER TABLE pets DROP COLUMN chip")
    filled.run("CREATE TRIGGER t AFTER INSERT ON pets FOR EACH ROW EXECUTE FUNCTION f()")
    filled.run("DROP ROLE IF EXISTS clerk; CREATE ROLE clerk LOGIN PASSWORD 'clerk'")
    filled.run("GRANT ALL ON pets TO clerk; GRANT USAGE ON SCHEMA public TO clerk")
    parts = urlsplit(filled.url)
    os.environ["CLERK_URL"] = parts._replace(
        netloc=f"clerk:clerk@{parts.hostname}:{parts.port}"
    ).geturl()
    try:
        real = answer(taly, "replay", RUN, "--yes", "--into", "CLERK_URL", "--table", "pets")
    finally:
        del os.environ["CLERK_URL"]
        filled.run("DROP OWNED BY clerk; DROP ROLE clerk")
    check("rescue-replay", dry, real)
    assert dry["dry_run"]
    assert not dry["complete"]


def test_into_never_takes_a_password(filled: Stage, taly: Taly) -> None:
    for url in (filled.url, "postgresql://host/db?password=secret"):
        code, printed, said = taly("rescue", "replay", RUN, "--yes", "--into", url)
        assert code == 2
        assert "password-on-command-line" in said
        assert "SANDBOXSECRET" not in printed + said
    code, _, said = taly("rescue", "replay", RUN, "--yes", "--into", "NOT_SET")
    assert code == 2
    assert "NOT_SET" in said


def test_a_user_who_may_not_write_is_told_what_is_needed(
    filled: Stage, taly: Taly, monkeypatch: pytest.MonkeyPatch
) -> None:
    filled.run("DROP ROLE IF EXISTS reader; CREATE ROLE reader LOGIN PASSWORD 'reader'")
    parts = urlsplit(filled.url)
    url = parts._replace(netloc=f"reader:reader@{parts.hostname}:{parts.port}").geturl()
    monkeypatch.setenv("READER_URL", url)
    code, _, said = taly("rescue", "replay", RUN, "--yes", "--into", "READER_URL")
    filled.run("DROP ROLE reader")
    assert code == 4
    assert "rescue-forbidden" in said
    assert "SANDBOXSECRET" not in said


def test_one_whose_step_did_not_end_is_explained(stage: Stage, taly: Taly) -> None:
    bundle = begin(stage.base)
    bundle.table(PETS).add("row", ("5", "Ida", None), why="w")
    bundle.finish()
    code, _, said = taly("rescue", "replay", RUN, "--yes")
    assert code == 3
    assert "rescue-unconfirmed" in said
    assert "--unconfirmed" in said
    assert "prepared" in taly("rescue", "list")[1]
    assert taly("rescue", "replay", RUN, "--yes", "--unconfirmed")[0] == 0
    assert stage.run("SELECT id FROM pets WHERE id = 5") == [(5,)]


def test_a_damaged_bundle_is_refused_and_nothing_is_touched(filled: Stage, taly: Taly) -> None:
    path = next(filled.base.glob("*/*/table-0001.jsonl.gz"))
    whole = path.read_bytes()
    path.write_bytes(whole[:-9] + bytes([whole[-9] ^ 1]) + whole[-8:])
    code, _, said = taly("rescue", "replay", RUN, "--yes")
    assert code == 3
    assert "table-0001.jsonl.gz" in said
    assert filled.run("SELECT count(*) FROM pets") == [(2,)]


def test_nobody_to_ask(filled: Stage, taly: Taly) -> None:
    code, _, said = taly("rescue", "replay", RUN)
    assert code == 2
    assert "--yes" in said


def test_what_the_policy_demands_is_demanded_here_too(filled: Stage, taly: Taly) -> None:
    Path("taly.toml").write_text(f'{TOML}\n[policy]\nconfirm = "production"\n')
    assert taly("rescue", "replay", RUN, "--yes", "--table", "pets")[0] == 2
    assert taly("rescue", "replay", RUN, "--confirm=production", "--table", "pets")[0] == 0


def test_two_replays_at_once_are_one_too_many(filled: Stage, taly: Taly) -> None:
    import fcntl

    handle = os.open(next((filled.base / RUN).iterdir()), os.O_RDONLY)
    fcntl.flock(handle, fcntl.LOCK_EX)
    code, _, said = taly("rescue", "replay", RUN, "--yes")
    os.close(handle)
    assert code == 6
    assert "rescue-replay-running" in said


def test_lines_fit_into_80_columns(filled: Stage, taly: Taly) -> None:
    wide = table("wide", {f"a long name of a column {i}": "text" for i in range(9)})
    filled.bundle((wide, [{"values": ["x" * 500] * 9}]), step="s")
    printed = taly("rescue", "list")[1] + taly("rescue", "show", RUN)[1]
    paths = re.compile(r"^  of \S+, .*$", re.MULTILINE)
    assert max(len(line) for line in paths.sub("", printed).splitlines()) <= 80
    assert "more columns" in printed
