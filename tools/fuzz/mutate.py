"""Making hostile documents out of good ones: by their structure, and by their bytes."""

import json
from collections.abc import Callable
from random import Random
from typing import Any

DEEP = 3000
LONGEST = 2_000_000
"""Bytes of a document: what is longer takes longer, and has limits that have tests of their own."""
PATHS = (
    "../../etc/passwd", "/etc/passwd", "..", ".", "", "a\x00b", "..\\..\\x", "CON", "./x",
    "x/../..", "files/../../outside", "\u202egpj", "~root", "-rf", "a" * 5000,
)  # fmt: skip
TEXTS = (
    *PATHS,
    "\x1b[2J\x1b]0;x\x07", "\ud800", "';drop table run;--", '"', "%s%n{0}{x.__class__}",
    "[bold]", "run-1abcde", "1e999", "NaN", "\n", "🎉" * 300, "select", "text) select 1 --",
    "2026-13-45T99:99:99Z", "9999-12-31T23:59:59.999999+14:00",
    "0001-01-01T00:00:00-23:59",
    "(((((a+)+)+)+)+)$",
)  # fmt: skip
NUMBERS = (
    0, -1, 1, 2**31, 2**63, -(2**63) - 1, 2**200, 10**400, 0.5, -0.0, 1e308, 10**15, 253402300800,
    float("inf"), float("nan"),
)  # fmt: skip
CHUNKS = (
    b"[" * DEEP, b"{" * 50, b'{"a":' * DEEP, b"\x00", b"\xff\xfe", b"\xef\xbb\xbf", b"\\ud800",
    b"NaN", b"1" * 5000, b"-", b'"', b"}", b"]", b"\n" * 100, b"'''", b'"""', b"&a", b"*a",
    b"!!python/object:os", b"(" * DEEP, b"$$", b"/*" * 500, b"--", b";",
    b"a." * DEEP, b"\r\n", b"=", b"[[x]]\n", b"1e999",
)  # fmt: skip


def mutated(random: Random, seed: bytes) -> bytes:
    """A document that is a little, or altogether, wrong."""
    data = seed
    if random.random() < 0.6:
        data = _as_json(random, seed) or seed
    if data is seed or random.random() < 0.25:
        for _ in range(random.choice((1, 1, 2, 4))):
            data = random.choice(BYTES)(random, data)
    return data[:LONGEST]


def _as_json(random: Random, seed: bytes) -> bytes | None:
    try:
        document = json.loads(seed)
    except (ValueError, RecursionError):
        return None
    holder = [document]
    for _ in range(random.choice((1, 1, 1, 2, 3, 6))):
        _change(random, holder)
    try:
        return json.dumps(holder[0]).encode()
    except (ValueError, RecursionError):
        return None


def _change(random: Random, holder: list[Any]) -> None:
    """Walk down at random, and change what is there."""
    where: Any = holder
    key: Any = 0
    while isinstance(where[key], dict | list) and where[key] and random.random() < 0.85:
        where = where[key]
        key = (
            random.choice(list(where)) if isinstance(where, dict) else random.randrange(len(where))
        )
    random.choice(CHANGES)(random, where, key)


def _replace(random: Random, where: Any, key: Any) -> None:
    where[key] = _hostile(random, where[key])


def _remove(random: Random, where: Any, key: Any) -> None:
    if isinstance(where, dict):
        del where[key]
    else:
        where[key] = None


def _add(random: Random, where: Any, key: Any) -> None:
    if isinstance(where, dict):
        where[random.choice(("unknown", "__class__", "", "kind", "id", "\x00", *TEXTS[-3:]))] = 1
    else:
        where.append(_hostile(random, where[key]))


def _repeat(random: Random, where: Any, key: Any) -> None:
    if isinstance(where, list):
        where.extend([where[key]] * random.choice((1, 3, 200)))
    elif isinstance(where[key], str):
        where[key] *= random.choice((2, 50))


def _exchange(random: Random, where: Any, key: Any) -> None:
    other = random.choice(list(where)) if isinstance(where, dict) else random.randrange(len(where))
    where[key], where[other] = where[other], where[key]


def _hostile(random: Random, old: Any) -> Any:
    kind = random.randrange(8)
    if kind < 2:
        return random.choice(TEXTS)
    if kind < 4:
        return random.choice(NUMBERS)
    if kind == 4:
        return random.choice((None, True, False, [], {}, [[]], {"": {}}, [None], [{}]))
    if kind == 5 and isinstance(old, str):
        at = random.randrange(len(old) + 1)
        return old[:at] + random.choice(TEXTS) + old[at:]
    if kind == 6:
        return _deep(random.choice((30, 100, 400)))
    return {"a": old} if random.random() < 0.5 else [old]


def _deep(depth: int) -> Any:
    value: Any = 1
    for _ in range(depth):
        value = [value]
    return value


def _flip(random: Random, data: bytes) -> bytes:
    if not data:
        return b"\x00"
    at = random.randrange(len(data))
    return data[:at] + bytes([data[at] ^ 1 << random.randrange(8)]) + data[at + 1 :]


def _insert(random: Random, data: bytes) -> bytes:
    at = random.randrange(len(data) + 1)
    return data[:at] + random.choice(CHUNKS) + data[at:]


def _cut(random: Random, data: bytes) -> bytes:
    return data[: random.randrange(len(data) + 1)]


def _drop(random: Random, data: bytes) -> bytes:
    first = random.randrange(len(data) + 1)
    return data[:first] + data[first + random.randrange(1, 40) :]


def _double(random: Random, data: bytes) -> bytes:
    first = random.randrange(len(data) + 1)
    return data[:first] + data[first : first + random.randrange(1, 400)] * 3 + data[first:]


CHANGES: tuple[Callable[[Random, Any, Any], None], ...] = (
    _replace, _replace, _replace, _remove, _add, _repeat, _exchange,
)  # fmt: skip
BYTES: tuple[Callable[[Random, bytes], bytes], ...] = (_flip, _flip, _insert, _cut, _drop, _double)
