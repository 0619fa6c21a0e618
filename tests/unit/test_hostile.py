"""What others wrote is read as data, within bounds: each reader against hostile documents."""

import ast
import json
import subprocess
import sys
from collections import Counter
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from random import Random

import httpx2
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tools.fuzz.documents import Reader
from tools.fuzz.mutate import mutated
from tools.fuzz.run import readers

from taly.database.checkpoint.manifest import PART, Instant, _within
from taly.database.rescue.manifest import TYPE
from taly.errors import TalyError, UsageError, VendorRefused, VendorUnavailable
from taly.hostile import MAX_DEPTH, json_value
from taly.providers import http
from taly.providers.http import VendorHttp

SOURCES = Path(__file__).parents[2] / "src" / "taly"
JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text() | st.floats(allow_nan=False, width=32),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(), inner, max_size=4),
    max_leaves=12,
)


@given(JSON)
def test_what_is_json_within_bounds_is_read_as_json_reads_it(document: object) -> None:
    try:
        text = json.dumps(document, allow_nan=False, ensure_ascii=False)
        text.encode()
    except ValueError:  # an infinity, or half a character: refused below
        return
    assert json_value(text) == json_value(text.encode()) == json.loads(text)


@pytest.mark.parametrize(
    ("text", "why"),
    [
        ("[" * (MAX_DEPTH + 2) + "]" * (MAX_DEPTH + 2), "nested too deeply"),
        ("[" * 100_000, "nested too deeply"),
        ('{"a":' * 100_000, "nested too deeply"),
        ('{"a": 1, "a": 2}', "twice"),
        ("[NaN]", "no number"),
        ("[-Infinity]", "no number"),
        ("[1e999]", "too large"),
        ("1" * 5000, "Exceeds the limit"),
        ('["\\ud800"]', "half a character"),
        ('{"\\udc00": 1}', "half a character"),
        ("", "no JSON"),
        ('{"a": 1} x', "no JSON"),
    ],
)
def test_what_goes_beyond_a_bound_is_refused(text: str, why: str) -> None:
    with pytest.raises(ValueError, match=why):
        json_value(text)
    with pytest.raises(ValueError, match=why):
        json_value(text.encode())


def test_bytes_that_are_no_text_and_texts_that_are_too_long_are_refused() -> None:
    with pytest.raises(ValueError, match="UTF-8"):
        json_value(b'"\xff"')
    with pytest.raises(ValueError, match="longer than 3"):
        json_value("[1, 2]", limit=3)


@given(st.integers(1, MAX_DEPTH - 1))
def test_what_is_as_deep_as_the_bound_is_read(depth: int) -> None:
    assert json_value("[" * depth + "]" * depth) is not None


# Every reader of the fuzzer, a few inputs each; `make fuzz` plays a hundred thousand


@pytest.fixture(scope="module")
def all_readers(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Reader]:
    """By the first words of their names; a vendor's ids differ from day to day."""
    return {one.name: one for one in readers(tmp_path_factory.mktemp("fuzz"))}


@settings(max_examples=500, deadline=None)
@given(choice=st.integers(0, 10_000), seed=st.integers(0, 2**32))
def test_no_reader_breaks(
    all_readers: dict[str, Reader],
    tmp_path_factory: pytest.TempPathFactory,
    choice: int,
    seed: int,
) -> None:
    chance = Random(seed)
    one = list(all_readers.values())[choice % len(all_readers)]
    data = mutated(chance, chance.choice(one.seeds))
    folder = tmp_path_factory.mktemp("input")
    one.prepare(data, folder)
    with suppress(TalyError):
        one.read(data, folder)


def test_every_good_document_is_read(all_readers: dict[str, Reader], tmp_path: Path) -> None:
    """Else the fuzzer would knock at closed doors."""
    for number, one in enumerate(all_readers.values()):
        for which, seed in enumerate(one.seeds):
            folder = tmp_path / f"{number}-{which}"
            folder.mkdir()
            one.prepare(seed, folder)
            if one.name != "taly.toml":
                one.read(seed, folder)


PLANTED = """
import sys
from pathlib import Path
from tools.fuzz.documents import Reader
from tools.fuzz.guard import Guard
from tools.fuzz.run import Tally, _try
def breaks(data, folder): raise KeyError("x")
def hangs(data, folder):
    while True: pass
def writes(data, folder): (folder / "out").write_text("x")
def reads(data, folder): open("/etc/passwd").close()
def eats(data, folder): bytes(4 * 2**30)
def starts(data, folder):
    import subprocess
    subprocess.run(["true"])
guard, tally = Guard(), Tally()
for read in (breaks, hangs, writes, reads, eats, starts):
    _try(guard, tally, Reader(read.__name__, [b""], read), b"", Path(sys.argv[1]) / "input")
print("\\n".join(sorted(tally.findings)))
"""


def test_the_fuzzer_sees_every_kind_of_misbehaviour(tmp_path: Path) -> None:
    root = SOURCES.parents[1]
    code = f"import tools.fuzz.guard as g; g.SECONDS = 0.2\n{PLANTED}"
    done = subprocess.run(
        [sys.executable, "-c", code, str(tmp_path)],
        cwd=root,
        capture_output=True,
        text=True,
        check=False,
    )
    found = {line.partition(" ")[0] for line in done.stdout.splitlines()}
    assert found == {"breaks", "hangs", "writes", "reads", "eats", "starts"}, done.stderr


# Vendors' answers


def vendor(answer: httpx2.Response) -> VendorHttp:
    """A client whose vendor answers so."""
    client = VendorHttp(vendor="acme", base_url="http://127.0.0.1:9", token="t", read_attempts=1)
    client._client = httpx2.Client(
        base_url="http://127.0.0.1:9", transport=httpx2.MockTransport(lambda _: answer)
    )
    return client


def test_an_answer_without_an_end_is_no_answer(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(http, "MAX_REPLY_BYTES", 1000)

    def endless() -> Iterator[bytes]:
        while True:
            yield b" " * 100

    with pytest.raises(VendorUnavailable) as caught:
        vendor(httpx2.Response(200, content=endless())).read("/x")
    assert caught.value.reference == "acme-unreachable"


def test_an_answer_that_comes_drop_by_drop_ends(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(http, "MAX_REPLY_S", 0.0)
    with pytest.raises(VendorUnavailable):
        vendor(httpx2.Response(200, content=iter([b"{", b"}"]))).read("/x")


def test_a_deep_answer_is_no_json(monkeypatch: pytest.MonkeyPatch) -> None:
    headers = {"content-type": "application/json"}
    deep = httpx2.Response(200, content=b"[" * 100_000, headers=headers)
    assert vendor(deep).read("/x").body is None


@pytest.mark.parametrize(
    "path", ["/a/../b", "/..", "/a\x00", "/a b", "/a\\b", "/a?x=1", "a", "/./x"]
)
def test_an_id_that_leads_elsewhere_is_refused(path: str) -> None:
    with pytest.raises(VendorRefused) as caught:
        vendor(httpx2.Response(200)).read(path)
    assert caught.value.reference == "acme-odd-address"


# Names and types out of manifests


@pytest.mark.parametrize(
    "name",
    [
        "../x",
        "a/../../x",
        "/etc/passwd",
        "",
        "a//b",
        "./a",
        "a/.",
        "a\\b",
        "a\x00",
        "a\n",
        "x" * 2000,
    ],
)
def test_a_checkpoint_s_file_cannot_lie_elsewhere(name: str) -> None:
    with pytest.raises(ValueError, match="no name"):
        _within(name)


@given(st.lists(st.from_regex(PART, fullmatch=True), min_size=1, max_size=3))
def test_what_is_accepted_stays_within_the_folder(parts: list[str]) -> None:
    try:
        name = _within("/".join(parts))
    except ValueError:
        return
    folder = Path("/checkpoints/one")
    assert folder in (folder / name).parents
    assert ".." not in Path(name).parts


@pytest.mark.parametrize(
    "kind",
    [
        "integer", "numeric(10,2)", "numeric(5,-2)[]", "character varying(255)", '"char"',
        "timestamp(3) without time zone", "time with time zone", "interval day to second(3)",
        "bit varying(5)[]", 'app."Kind ""x"""[]', "double precision", "vector(3)",
        "geometry(Point,4326)", "straße", "interval year to month", "timestamp without time zone[]",
    ],
)  # fmt: skip
def test_types_as_postgresql_writes_them_are_accepted(kind: str) -> None:
    assert TYPE.fullmatch(kind)


@pytest.mark.parametrize(
    "kind",
    [
        "text; drop table x", "text) select 1", "text union select 1", "text = text", "text--",
        "text/*x*/", "int, int", "text 'x'", '"a', "(select 1)", "", "text(\"x\")", "text('x')",
        "int(pg_sleep(1))", "text\n;", "$1", "1", "text collate x",
    ],
)  # fmt: skip
def test_sql_in_a_bundle_s_types_is_refused(kind: str) -> None:
    """They become part of statements when rows go back; a bundle may come from anybody."""
    assert not TYPE.fullmatch(kind)


def test_sql_in_a_checkpoint_s_snapshot_is_refused() -> None:
    given = {"at": "2026-01-01T00:00:00Z", "xmin": 1, "lsn": ""}
    assert Instant.model_validate_json(json.dumps({**given, "snapshot": "10:20:10,14"})).snapshot
    with pytest.raises(ValueError, match="snapshot"):
        Instant.model_validate_json(json.dumps({**given, "snapshot": "1:1:') OR true --"}))


# The sources themselves

SPLICED = {
    "database/carry/sql.py": (2, "queries composed by carry/sql.py itself of quoted names"),
    "database/catalog.py": (1, "one of two constants"),
    "database/checkpoint/contents.py": (2, "two of three constants"),
    "database/checkpoint/copies.py": (1, "a keyword of CREATE DATABASE"),
    "database/checkpoint/settled.py": (3, "constants"),
    "database/connection.py": (1, "a number of ours"),
    "database/counts.py": (1, "a constant"),
    "database/ledger.py": (1, "a constant"),
    "database/rescue/present.py": (1, "an expression that the server itself prints"),
    "database/rescue/session.py": (2, "constants"),
    "database/rescue/writing.py": (4, "types of the live catalog, and constants"),
    "database/restore/dress.py": (2, "a privilege's name as the server prints it"),
    "database/restore/later.py": (2, "constants"),
    "database/revert/again.py": (1, "a number of ours"),
    "database/revert/back.py": (5, "aliases and keywords of ours"),
    "database/revert/concurrent.py": (0, ""),
    "database/revert/hinted.py": (
        8,
        "aliases, types and defaults of catalogs, hints of taly.toml",
    ),
    "database/revert/keyless.py": (3, "numbers and a snapshot that the manifest's model checks"),
    "database/revert/merge.py": (3, "types that the manifest's model checks, or of the catalog"),
    "database/revert/run.py": (1, "a number of ours"),
    "database/revert/staged.py": (6, "aliases of ours, types of the catalog, a checked snapshot"),
    "database/revert/standing.py": (3, "constants"),
    "database/scratch.py": (1, "a number of ours"),
    "engine/store/postgres.py": (2, "numbers and names of ours"),
}
"""Where a statement is not one literal: how often, and why nobody else's text gets into it."""


def _splices(path: Path) -> int:
    text = path.read_text("utf-8")
    if not any(word in text for word in ("SQL(", "execute", ".copy(", ".script(")):
        return 0
    tree = ast.parse(text)
    return sum(
        _is_spliced(node) for node in ast.walk(tree) if isinstance(node, ast.Call) and node.args
    )


def _is_spliced(call: ast.Call) -> bool:
    function, text = call.func, call.args[0]
    name = function.attr if isinstance(function, ast.Attribute) else getattr(function, "id", "")
    while (
        isinstance(text, ast.Call)
        and isinstance(text.func, ast.Attribute)
        and text.func.attr == "encode"
    ):
        text = text.func.value
    if name == "SQL":
        return not isinstance(text, ast.Constant)
    if name not in ("execute", "executemany", "copy", "script"):
        return False
    if isinstance(text, ast.JoinedStr):
        return any(isinstance(part, ast.FormattedValue) for part in text.values)
    return isinstance(text, ast.BinOp) and not isinstance(text.left, ast.Name)


def test_no_statement_is_spliced_together_but_where_it_is_known_why() -> None:
    """Identifiers are quoted by the driver (`psycopg.sql`), values are parameters."""
    found = Counter[str]()
    for path in SOURCES.rglob("*.py"):
        if count := _splices(path):
            found[path.relative_to(SOURCES).as_posix()] = count
    more = {file: n for file, n in found.items() if n > SPLICED.get(file, (0, ""))[0]}
    assert not more, "use psycopg.sql.Identifier and parameters, or say here why it is safe"


def test_nothing_is_ever_read_as_a_program() -> None:
    forbidden = {"pickle", "marshal", "shelve", "dill", "cloudpickle", "jsonpickle"}
    words = (*forbidden, "eval", "exec(", "yaml")
    for path in SOURCES.rglob("*.py"):
        text = path.read_text("utf-8")
        if not any(word in text for word in words):
            continue
        for node in ast.walk(ast.parse(text)):
            if isinstance(node, ast.Import):
                assert not forbidden & {one.name for one in node.names}, path
            elif isinstance(node, ast.ImportFrom):
                assert node.module not in forbidden, path
            elif isinstance(node, ast.Call):
                called = ast.unparse(node.func)
                assert called not in ("eval", "exec", "yaml.unsafe_load", "yaml.full_load"), path
                if called == "yaml.load":
                    loaders = [ast.unparse(one.value) for one in node.keywords]
                    assert loaders == ["_TolerantLoader"], path  # a SafeLoader's subclass


def test_an_error_that_others_texts_stand_in_has_a_length_that_can_be_read() -> None:
    said = UsageError("x" * 100_000, reference="config-invalid").message
    assert len(said) < 16_000
    assert said.endswith("… (85000 characters more)")
