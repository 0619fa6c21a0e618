"""Known secrets are taken out of every text by their value, however they are written there.

One list for the process, as stdout, stderr and the logs are one for the process: whoever learns a
secret adds it, and every sink asks. The errors that taly raises are clean from the start.
"""

import base64
import html
import json
import re
import threading
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from urllib.parse import parse_qsl, quote, quote_plus, unquote, urlsplit

MARK = "[redacted]"
SHORTEST = 6
"""Characters of the shortest value that is redacted: shorter ones stand in ordinary words."""
LINE = 12
"""Characters of a line of a longer secret, a key for example, that is one by itself."""
BASE64_FROM = 8
"""Characters from which on a value is recognised inside of base64."""

NAMED = re.compile(
    r"(?i)(token|secret|passw(or)?d|passphrase|credential|cookie|api_?key|access_?key|private_?key"
    r"|_(key|pat|pwd|auth|dsn)$)"
)
"""Variables whose names say that they hold a secret."""
NOT_NAMED = re.compile(r"(?i)_(file|path|dir|url|uri|sock|endpoint|expiration|id)$")
"""…or only where one is. What a URL holds is looked at by itself."""
NAMED_ANYWAY = frozenset({"AWS_ACCESS_KEY_ID"})
ORDINARY = frozenset(
    {
        "apprunner",
        "database",
        "default",
        "localhost",
        "netlify",
        "password",
        "postgres",
        "postgresql",
        "production",
        "rollback",
        "sandbox",
        "serverless",
        "staging",
        "vercel",
    }
)
"""Words that taly itself prints: as a password they keep nobody out, and are left standing."""


class Secret:
    """A value that shows itself to nobody who only prints it."""

    __slots__ = ("_value",)

    def __init__(self, value: str) -> None:
        self._value = value

    def reveal(self) -> str:
        """The value, for the one who has to send it."""
        return self._value

    def __repr__(self) -> str:
        return MARK

    __str__ = __repr__


class Redactor:
    """The secrets that are known, and texts without them. Safe to use from many threads."""

    def __init__(self) -> None:
        self._values: set[str] = set()
        self._spared: set[str] = set(ORDINARY)
        self._pattern: re.Pattern[str] | None = None
        self._lock = threading.Lock()

    def __call__(self, text: str) -> str:
        """The text with every known secret replaced, also where it is escaped or encoded."""
        pattern = self._pattern
        return text if pattern is None else pattern.sub(MARK, text)

    def add(self, value: str) -> bool:
        """Know this secret from now on; False where it is too short or too ordinary for that."""
        value = value.strip()
        lines = [line.strip() for line in value.splitlines()]
        parts = {value, *(one for one in lines if len(one) >= LINE and not one.startswith("---"))}
        with self._lock:
            found = {one for one in parts if len(one) >= SHORTEST and one not in self._spared}
            if not found <= self._values:
                self._values |= found
                self._compile()
        return bool(found)

    def add_url(self, url: str) -> None:
        """Know the password of a URL, if it has one."""
        for password in passwords(url):
            self.add(password)

    def learn(self, environ: Mapping[str, str]) -> None:
        """Know what this environment holds of secrets, by the variables' names and by their form.

        Nothing is asked of a mapping but its items: give one that is resolved.
        """
        for name, value in environ.items():
            if name in NAMED_ANYWAY or (NAMED.search(name) and not NOT_NAMED.search(name)):
                self.add(value)
            if "://" in value:
                self.add_url(value)

    def spare(self, words: Iterable[str]) -> None:
        """Never take these for secrets: names that stand in every output."""
        with self._lock:
            self._spared.update(words)
            if self._values & self._spared:
                self._values -= self._spared
                self._compile()

    @contextmanager
    def scope(self) -> Iterator[None]:
        """What is learnt within is forgotten at its end: one command line of a process."""
        with self._lock:
            kept = set(self._values), set(self._spared)
        try:
            yield
        finally:
            with self._lock:
                self._values, self._spared = kept
                self._compile()

    def _compile(self) -> None:
        forms = {form for value in self._values for form in _forms(value)}
        longest_first = sorted(forms, key=lambda form: (-len(form), form))
        joined = "|".join(re.escape(form) for form in longest_first)
        self._pattern = re.compile(joined) if joined else None


KNOWN = Redactor()
"""The secrets of this process."""


def redact(text: str) -> str:
    """The text without any secret that this process knows."""
    return KNOWN(text)


def passwords(url: str) -> Iterator[str]:
    """The password of a URL as it stands there, and as it is meant; nothing where there is none."""
    try:
        parts = urlsplit(url.strip())
        found = [parts.password, dict(parse_qsl(parts.query)).get("password")]
    except ValueError:
        return
    for one in found:
        if one:
            yield one
            yield unquote(one)


def _forms(value: str) -> Iterator[str]:
    """How a value may be written: as it is, quoted for URLs, JSON, Python, HTML, in base64."""
    yield value
    for quoted in (quote(value, safe=""), quote(value), quote_plus(value)):
        yield quoted
        yield re.sub(r"%[0-9A-F]{2}", lambda found: found[0].lower(), quoted)
    for ascii_only in (True, False):
        once = json.dumps(value, ensure_ascii=ascii_only)[1:-1]
        yield once
        yield json.dumps(once, ensure_ascii=ascii_only)[1:-1]
    yield repr(value)[1:-1]
    yield html.escape(value)
    yield html.escape(value, quote=False)
    if len(value) >= BASE64_FROM:
        yield from _in_base64(value.encode("utf-8", "surrogatepass"))


def _in_base64(data: bytes) -> Iterator[str]:
    """The characters of any base64 text that are this value's alone, wherever it begins in it."""
    for before in range(3):
        text = base64.b64encode(b"\0" * before + data)
        whole = (before + len(data)) * 8 // 6  # characters that hold nothing of what follows
        part = text[(before * 8 + 5) // 6 : whole].decode()
        yield part
        yield part.replace("+", "-").replace("/", "_")
