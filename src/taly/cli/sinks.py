"""Everything that this process prints goes through here: no known secret, nothing terminals obey.

What taly prints is clean before it is laid out: a secret that is broken over two lines is none that
could be found again. The streams are the last net, for tracebacks and what libraries print.
"""

import logging
import os
import sys
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from typing import IO, Any, TextIO, cast

from rich.console import Console, ConsoleOptions, RenderableType
from rich.segment import Segment
from rich.text import Text

from taly.cli.controls import visible, visible_text
from taly.redaction import KNOWN, redact

OWN_SECRETS = frozenset({"sandbox", "demo"})
"""Commands whose output the secrets are: a sandbox gives out those that it made up itself."""


class CleanConsole(Console):
    """A console that lays out nothing before it is clean."""

    def render(
        self, renderable: RenderableType, options: ConsoleOptions | None = None
    ) -> Iterable[Segment]:
        """See rich: the lines of a thing that can be printed."""
        if isinstance(renderable, str):
            # First what taly wrote as styles: without its escapes a foreign text could look so.
            given = options or self.options
            text = redact(renderable)
            renderable = self.render_str(text, markup=given.markup, highlight=given.highlight)
        return super().render(_clean(renderable), options)


def _clean(renderable: RenderableType) -> RenderableType:
    if not isinstance(renderable, Text):
        return renderable
    text = visible_text(renderable)
    if (plain := redact(text.plain)) == text.plain:
        return text
    return Text(
        plain,
        style=text.style,
        justify=text.justify,
        overflow=text.overflow,
        no_wrap=text.no_wrap,
        end=text.end,
    )


class _RedactedStream:
    """A text stream in whose writes no known secret stands."""

    def __init__(self, stream: IO[str]) -> None:
        self._stream = stream

    def clean(self, text: str) -> str:
        """What of the text is written."""
        return redact(text)

    def write(self, text: str) -> int:
        """Write the text, or what is left of it."""
        self._stream.write(self.clean(text))
        return len(text)

    def writelines(self, lines: Iterable[str]) -> None:
        """Write each."""
        for line in lines:
            self.write(line)

    def __getattr__(self, name: str) -> Any:
        return getattr(self._stream, name)


class _CleanStream(_RedactedStream):
    """And nothing that a terminal obeys: what goes past taly's own console has no colours."""

    def __init__(self, stream: IO[str]) -> None:
        super().__init__(stream)
        self.own_way = _RedactedStream(stream)
        """For taly's console: the escapes in what it lays out are its own."""

    def clean(self, text: str) -> str:
        """See `_RedactedStream`; first joined together, then looked at."""
        return redact(visible(text))


def own_way(stream: IO[str]) -> IO[str]:
    """The stream for a console that lets nothing through that a terminal obeys but its own."""
    return cast("IO[str]", getattr(stream, "own_way", stream))


@contextmanager
def clean_output(arguments: list[str]) -> Iterator[None]:
    """Within, stdout and stderr are clean; the environment's secrets are known, and only within."""
    with KNOWN.scope():
        if arguments[:1] and arguments[0] in OWN_SECRETS:
            yield
            return
        KNOWN.learn(os.environ)
        out, err = sys.stdout, sys.stderr
        sys.stdout = cast("TextIO", _CleanStream(out))
        sys.stderr = cast("TextIO", _CleanStream(err))
        try:
            with _calls_shown():
                yield
        finally:
            sys.stdout, sys.stderr = out, err


class _CleanFormatter(logging.Formatter):
    def format(self, record: logging.LogRecord) -> str:
        return redact(visible(super().format(record)))


@contextmanager
def _calls_shown() -> Iterator[None]:
    """With TALY_DEBUG every call of a vendor is shown: which, and what came of it.

    Never the libraries' own logs: they hold whole requests and answers, and with them the values of
    other people's environments.
    """
    if not os.environ.get("TALY_DEBUG"):
        yield
        return
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(_CleanFormatter("%(asctime)s %(name)s: %(message)s"))
    logger = logging.getLogger("taly")
    level, propagated = logger.level, logger.propagate
    logger.addHandler(handler)
    logger.setLevel(logging.DEBUG)
    logger.propagate = False
    try:
        yield
    finally:
        logger.removeHandler(handler)
        logger.setLevel(level)
        logger.propagate = propagated


def log_to_stderr() -> None:
    """Logs are for debugging: on stderr, warnings only, unless TALY_DEBUG asks for all.

    Imported here: structlog costs a tenth of a second, and commands that only read log nothing.
    """
    import structlog

    level = logging.DEBUG if os.environ.get("TALY_DEBUG") else logging.WARNING
    structlog.configure(
        wrapper_class=structlog.make_filtering_bound_logger(level),
        logger_factory=lambda *_: structlog.PrintLogger(sys.stderr),
        processors=[
            structlog.contextvars.merge_contextvars,
            structlog.processors.add_log_level,
            structlog.processors.StackInfoRenderer(),
            structlog.dev.set_exc_info,
            structlog.processors.TimeStamper(fmt="%Y-%m-%d %H:%M:%S", utc=False),
            # Its own choice for tracebacks shows every local variable, and so every token.
            structlog.dev.ConsoleRenderer(
                colors=False, exception_formatter=structlog.dev.plain_traceback
            ),
            lambda _logger, _method, text: redact(visible(str(text))),
        ],
    )
