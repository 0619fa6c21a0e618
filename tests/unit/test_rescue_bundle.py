"""A rescue bundle is there as a whole or not at all, and believed only when nothing was changed."""

import gzip
import hashlib
import json
import os
import stat
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from tests.contract.rescue_stage import RUN, begin, table

from taly.database.rescue.bundle import (
    Reader,
    bundles,
    every,
    folder_name,
    open_bundle,
)
from taly.database.rescue.manifest import _seal
from taly.errors import Refused, UsageError, VendorRefused

T = table('odd ".. ', {"id": "integer", "näme": "text", "b": "bytea"}, "id")


def made(base: Path, *rows: tuple[str | None, ...], step: str = "s") -> Reader:
    bundle = begin(base, step=step)
    for values in rows or (("1", "x", None), ("2", "", "\\x00")):
        bundle.table(T).add("row", values, why="its table goes")
    bundle.finish(facts={"xmin": 7, "names": ["a"]})
    bundle.confirm()
    return open_bundle(base, RUN, "database", step=step)


def test_everything_comes_back_as_it_was_added(tmp_path: Path) -> None:
    bundle = begin(tmp_path)
    file = bundle.table(T)
    odd = "\t\n\\N \\. ünï 🎉 \x01 ' \" {} %s \u2028"
    file.add("row", ("1", odd, None), why="dropped", base=None)
    file.add("columns", ("2", None), why="no place", columns=("id", "b"), base={"id": "2", "b": ""})
    file.add("deleted", ("3", "", "\\x"), why="live had deleted it", base={})
    assert bundle.table(T) is file
    assert bundle.rows == file.rows == 3
    bundle.table(table("empty", {"x": "text"}))
    manifest = bundle.finish(facts={"a": [1, None]})
    bundle.confirm()

    reader = open_bundle(tmp_path, RUN, "database")
    reader.check()
    assert reader.manifest == manifest.model_copy(update={"state": "done"})
    [facts] = reader.tables
    assert (facts.name, facts.columns, facts.types, facts.key) == (
        T.name,
        T.columns,
        T.types,
        T.key,
    )
    assert facts.reasons == {"dropped": 1, "no place": 1, "live had deleted it": 1}
    assert facts.kinds.model_dump() == {"row": 1, "columns": 1, "deleted": 1}
    first, second, third = reader.rows(facts)
    assert first.row == {"id": "1", "näme": odd, "b": None}
    assert (first.kind, first.why, first.base) == ("row", "dropped", None)
    assert (second.row, second.base) == ({"id": "2", "b": None}, {"id": "2", "b": ""})
    assert (third.kind, third.base) == ("deleted", {})


VALUES = st.one_of(st.none(), st.text(st.characters(exclude_characters="\0"), max_size=30))


@given(rows=st.lists(st.tuples(VALUES, VALUES, VALUES), max_size=30))
def test_any_text_comes_back(rows: list[Any], tmp_path_factory: pytest.TempPathFactory) -> None:
    base = tmp_path_factory.mktemp("rescue")
    bundle = begin(base)
    for values in rows:
        bundle.table(T).add("row", values, why="")
    bundle.finish()
    found = [
        row.values for one in bundles(base, RUN) for facts in one.tables for row in one.rows(facts)
    ]
    assert found == rows


def test_only_the_owner_can_read_it(tmp_path: Path) -> None:
    old = os.umask(0)
    try:
        reader = made(tmp_path)
    finally:
        os.umask(old)
    assert stat.S_IMODE(reader.path.stat().st_mode) == 0o700
    files = list(reader.path.iterdir())
    assert {path.name for path in files} == {"manifest.json", "table-0001.jsonl.gz"}
    assert {stat.S_IMODE(path.stat().st_mode) for path in files} == {0o600}


def test_nothing_is_there_before_all_is(tmp_path: Path) -> None:
    bundle = begin(tmp_path)
    bundle.table(T).add("row", ("1", "x", None), why="w")
    assert list(every(tmp_path)) == []
    assert bundle.finish().state == "prepared"
    [reader] = bundles(tmp_path, RUN)
    assert reader.manifest.state == "prepared"


def test_an_unfinished_attempt_is_replaced_and_a_done_one_never(tmp_path: Path) -> None:
    killed = begin(tmp_path)
    killed.table(T).add("row", ("1", "x", None), why="w")
    os.close(killed._lock)  # as when its process is killed
    begin(tmp_path).finish()
    again = begin(tmp_path)
    again.table(T).add("row", ("2", "x", None), why="w")
    again.finish()
    assert [path.name for path in (tmp_path / RUN).iterdir()] == ["revert.database.20250505_x"]
    again.confirm()
    again.confirm()
    with pytest.raises(Refused, match="is not overwritten") as error:
        begin(tmp_path)
    assert error.value.reference == "rescue-exists"


def test_one_that_is_still_being_filled_is_left_alone(tmp_path: Path) -> None:
    first = begin(tmp_path)
    first.table(T).add("row", ("1", "x", None), why="w")
    begin(tmp_path).discard()
    assert first.finish().rows == 1


def test_discarding_leaves_nothing_and_never_takes_a_done_one(tmp_path: Path) -> None:
    bundle = begin(tmp_path)
    bundle.table(T).add("row", ("1", "x", None), why="w")
    bundle.discard()
    bundle.discard()
    assert list((tmp_path / RUN).iterdir()) == []
    done = begin(tmp_path)
    done.finish()
    done.discard()
    assert list((tmp_path / RUN).iterdir()) == []
    kept = begin(tmp_path)
    kept.finish()
    kept.confirm()
    kept.discard()
    assert len(bundles(tmp_path, RUN)) == 1


def test_each_step_of_a_run_has_its_own(tmp_path: Path) -> None:
    for step in ("revert:database:1_a", "revert:database:1.a", "revert:database:1/a"):
        made(tmp_path, step=step)
    assert len(bundles(tmp_path, RUN)) == 3
    found = open_bundle(tmp_path, RUN, "database", step="revert:database:1/a")
    assert found.path.parent == tmp_path / RUN
    with pytest.raises(UsageError, match="several"):
        open_bundle(tmp_path, RUN, "database")
    with pytest.raises(UsageError, match="no rescue bundle"):
        open_bundle(tmp_path, RUN, "other")


@given(st.text(), st.text())
def test_a_steps_folder_is_a_plain_name_of_its_own(one: str, other: str) -> None:
    name = folder_name(one)
    assert Path(name).name == name
    assert not name.startswith(".")
    assert (folder_name(other) == name) == (one == other)


@pytest.mark.parametrize("run", ["", "..", "a/b", ".hidden", "run\n"])
def test_a_runs_id_never_leads_elsewhere(run: str, tmp_path: Path) -> None:
    with pytest.raises(UsageError):
        begin(tmp_path, run=run)


def test_values_must_be_as_many_as_columns(tmp_path: Path) -> None:
    file = begin(tmp_path).table(T)
    with pytest.raises(ValueError, match="3 columns"):
        file.add("row", ("1",), why="w")
    with pytest.raises(ValueError, match="1 columns"):
        file.add("columns", ("1", "2"), why="w", columns=("id",))


def test_a_folder_that_cannot_be_written_stops_the_step(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(VendorRefused) as error:
        begin(tmp_path / "file")
    assert error.value.reference == "rescue-not-written"


# A damaged or hostile bundle.


def test_one_changed_byte_is_found_and_its_file_named(tmp_path: Path) -> None:
    reader = made(tmp_path)
    path = reader.path / "table-0001.jsonl.gz"
    whole = bytearray(path.read_bytes())
    whole[-9] ^= 1
    path.write_bytes(whole)
    with pytest.raises(Refused, match=r"table-0001\.jsonl\.gz: its contents have changed"):
        Reader(reader.path).check()


@pytest.mark.parametrize("how", ["shorter", "gone", "link"])
def test_a_file_that_is_not_what_was_written_is_refused_at_once(tmp_path: Path, how: str) -> None:
    reader = made(tmp_path)
    path = reader.path / "table-0001.jsonl.gz"
    whole = path.read_bytes()
    path.unlink()
    if how == "shorter":
        path.write_bytes(whole[:-1])
    elif how == "link":
        (tmp_path / "elsewhere").write_bytes(whole)
        path.symlink_to(tmp_path / "elsewhere")
    with pytest.raises(Refused, match="table-0001"):
        Reader(reader.path)
    [refused] = every(tmp_path)
    assert isinstance(refused, Refused)


Change = Callable[[dict[str, Any]], object]


def resealed(reader: Reader, change: Change) -> Path:
    """A manifest that somebody changed, with a checksum that fits."""
    path = reader.path / "manifest.json"
    body = json.loads(path.read_bytes())
    del body["seal"]
    change(body)
    path.write_text(json.dumps({**body, "seal": _seal(body)}))
    return reader.path


def test_a_changed_manifest_is_refused(tmp_path: Path) -> None:
    reader = made(tmp_path)
    path = reader.path / "manifest.json"
    path.write_text(path.read_text().replace('"prepared"', '"done"').replace("localhost", "other"))
    with pytest.raises(Refused, match="its checksum does not fit"):
        Reader(reader.path)


@pytest.mark.parametrize(
    "change",
    [
        lambda body: body["tables"][0].update(file="../../../etc/passwd"),
        lambda body: body["tables"][0].update(file="/etc/passwd"),
        lambda body: body["tables"][0].update(file="manifest.json"),
        lambda body: body["tables"].append(body["tables"][0]),
        lambda body: body["tables"][0].update(rows=5),
        lambda body: body["tables"][0].update(rows=-1),
        lambda body: body["tables"][0].update(columns=["id", "id", "b"]),
        lambda body: body["tables"][0].update(key=["other"]),
        lambda body: body["tables"][0].update(bytes="12"),
        lambda body: body.update(unknown=1),
        lambda body: body.update(state="perhaps"),
        lambda body: body.update(run="run-2"),
        lambda body: body.update(format_version="2.0"),
        lambda body: body.pop("facts"),
    ],
)
def test_a_hostile_manifest_is_refused_though_its_checksum_fits(
    tmp_path: Path, change: Change
) -> None:
    with pytest.raises(Refused) as error:
        Reader(resealed(made(tmp_path), change))
    assert error.value.reference == "rescue-broken"


@pytest.mark.parametrize("text", [b"", b"[]", b"{}", b"\xff", b"[" * 100_000, b'{"seal": 1'])
def test_what_is_no_manifest_is_refused(tmp_path: Path, text: bytes) -> None:
    reader = made(tmp_path)
    (reader.path / "manifest.json").write_bytes(text)
    with pytest.raises(Refused):
        Reader(reader.path)


def replaced(reader: Reader, data: bytes, **claims: int) -> Reader:
    """The bundle with another file in it, whose size and checksum fit."""
    (reader.path / "table-0001.jsonl.gz").write_bytes(data)
    facts = {"bytes": len(data), "sha256": hashlib.sha256(data).hexdigest(), **claims}
    return Reader(resealed(reader, lambda body: body["tables"][0].update(facts)))


HEADER = json.dumps(
    {"schema": "public", "name": T.name, "columns": T.columns, "types": T.types, "key": T.key}
)
GOOD = [HEADER, '{"why":"w"}', '[0,0,0,["1","x",null]]', '[0,0,0,["2","x",null]]']


@pytest.mark.parametrize(
    "bad",
    [
        "[" * 100_000,
        "7",
        "null",
        "[0,0,0]",
        '[9,0,0,["1","x",null]]',
        '[0,9,0,["1","x",null]]',
        '[0,0,9,["1","x",null]]',
        '[-1,0,0,["1","x",null]]',
        '[true,0,0,["1","x",null]]',
        '[0,0,0,["1","x"]]',
        '[0,0,0,[1,"x",null]]',
        '[0,0,0,[["1"],"x",null]]',
        '[0,0,0,"abc"]',
        '[0,0,0,["1","x",null],0,["1"]]',
        '{"why":1}',
        '{"why":"w","more":1}',
        '{"columns":[1]}',
        '{"__class__":"os.system"}',
        "1" * 10_000,
    ],
)
def test_a_line_that_is_none_of_ours_is_refused(tmp_path: Path, bad: str) -> None:
    text = "".join(f"{line}\n" for line in [*GOOD[:3], bad, *GOOD[3:]]).encode()
    reader = replaced(made(tmp_path), gzip.compress(text), longest=200_000, text_bytes=300_000)
    reader.check()
    with pytest.raises(Refused, match=r"table-0001\.jsonl\.gz"):
        list(reader.rows(reader.tables[0]))


@pytest.mark.parametrize("lines", [GOOD[1:], GOOD[:3], [*GOOD, GOOD[3]], []])
def test_more_or_fewer_rows_than_were_written_are_refused(tmp_path: Path, lines: list[str]) -> None:
    text = "".join(f"{line}\n" for line in lines).encode()
    reader = replaced(made(tmp_path), gzip.compress(text), text_bytes=10_000)
    with pytest.raises(Refused):
        list(reader.rows(reader.tables[0]))


@pytest.mark.parametrize("cut", [1, 8, 20])
def test_a_file_cut_off_is_refused(tmp_path: Path, cut: int) -> None:
    text = "".join(f"{line}\n" for line in GOOD).encode()
    reader = replaced(made(tmp_path), gzip.compress(text)[:-cut])
    with pytest.raises(Refused):
        list(reader.rows(reader.tables[0]))


MEASURED = """
import resource, sys
from pathlib import Path
sys.path.insert(0, sys.argv[1])
resource.setrlimit(resource.RLIMIT_CPU, (60, 60))
def peak():
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss // 1024
"""
BOMB = """
from taly.database.rescue.bundle import Reader
from taly.errors import Refused
reader = Reader(Path(sys.argv[2]))
before = peak()
try:
    list(reader.rows(reader.tables[0]))
except Refused:
    print(peak() - before)
"""
MANY = """
from tests.contract.rescue_stage import begin, table
from taly.database.rescue.bundle import bundles
bundle = begin(Path(sys.argv[2]))
file = bundle.table(table("t", {"id": "integer", "x": "text", "y": "text"}, "id"))
def add(start, end):
    for i in range(start, end):
        file.add("row", (str(i), "value of row %d" % i, "x" * 100), why="w", base={"id": str(i)})
def read():
    return sum(1 for facts in reader.tables for _ in reader.rows(facts))
add(0, 20_000)
before = peak()
add(20_000, 200_000)
bundle.finish()
[reader] = bundles(Path(sys.argv[2]), "run-1abcde")
assert read() == 200_000
print(peak() - before)
"""


def grown(script: str, path: Path) -> int:
    """By how many MB a process grew."""
    root = str(Path(__file__).parents[2])
    code = [sys.executable, "-c", MEASURED + script, root, str(path)]
    return int(subprocess.run(code, check=True, capture_output=True, text=True).stdout)


def test_a_few_bytes_that_unpack_to_much_are_refused_without_unpacking_them(tmp_path: Path) -> None:
    bomb = gzip.compress(f"{HEADER}\n".encode() + b"[" * 300_000_000, 1)
    reader = replaced(made(tmp_path), bomb, longest=1_000)
    assert grown(BOMB, reader.path) < 30


def test_memory_stays_flat_for_200_000_rows(tmp_path: Path) -> None:
    assert grown(MANY, tmp_path) < 12


def test_values_of_many_megabytes_come_back(tmp_path: Path) -> None:
    long = "ab\\\n" * 1_500_000
    reader = made(tmp_path, ("1", long, None), ("2", "x", long))
    assert [row.values for row in reader.rows(reader.tables[0])] == [
        ("1", long, None),
        ("2", "x", long),
    ]


def test_a_thousand_tables_need_no_thousand_open_files(tmp_path: Path) -> None:
    code = MEASURED + (
        "from tests.contract.rescue_stage import begin, table\n"
        "resource.setrlimit(resource.RLIMIT_NOFILE, (64, 64))\n"
        "bundle = begin(Path(sys.argv[2]))\n"
        "for n in range(300):\n"
        "    bundle.table(table(f't{n}', {'x': 'text'})).add('row', ('v',), why='w')\n"
        "print(len(bundle.finish().tables))\n"
    )
    assert grown(code.removeprefix(MEASURED), tmp_path) == 300
