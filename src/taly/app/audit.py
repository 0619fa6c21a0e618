"""The audit trail: verified, exported, and its ends told so that they can be kept elsewhere."""

import io
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path

from taly.app.context import Context
from taly.engine.audit import Walked, read_lines, to_line, verify_store
from taly.engine.audit.exported import export, verify_lines
from taly.engine.audit.lines import MAX_LINE, unreadable
from taly.errors import UsageError


@dataclass(frozen=True, slots=True, kw_only=True)
class Audited:
    """What a verification came to."""

    trails: Sequence[Walked]
    lost_heads: Sequence[str]
    """Of the heads that were given, those that stand in no trail."""

    @property
    def is_intact(self) -> bool:
        """Whether everything is as it was written, as far as that can be seen."""
        return not self.lost_heads and all(one.finding is None for one in self.trails)


def audited(context: Context, heads: Sequence[str]) -> Audited:
    """Verify every trail of the store."""
    return _audited(list(verify_store(context.store, heads)), heads)


def audited_file(path: Path, heads: Sequence[str]) -> Audited:
    """Verify an export; UsageError when it cannot be read or is none."""
    try:
        with path.open(encoding="utf-8", errors="strict") as file:
            trails = verify_lines(read_lines(_bounded(file, path), str(path)), heads)
    except OSError as error:
        raise UsageError(
            f"{path} cannot be read: {error.strerror}",
            reference="export-unreadable",
            hint="taly audit export > audit.jsonl",
        ) from error
    except UnicodeDecodeError as error:
        raise unreadable(str(path), "it is not UTF-8") from error
    if not trails:
        raise unreadable(str(path), "it is empty")
    return _audited(trails, heads)


def exported(
    context: Context, *, environment: str = "", run: str = "", since: datetime | None = None
) -> Iterator[str]:
    """The lines of one environment's trail; UsageError when it has no such run."""
    name = environment or context.environment.name
    if run:
        name = context.store.run(run).environment
    return (to_line(line) for line in export(context.store, name, run=run, since=since))


def trail_heads(context: Context) -> list[tuple[str, int, str]]:
    """Environment, position and hash of every trail's end."""
    found = [(name, context.store.chain_head(name)) for name in context.store.environments()]
    return [(name, head.position, head.chain) for name, head in found if head is not None]


def _audited(trails: list[Walked], heads: Sequence[str]) -> Audited:
    kept = {head for one in trails for head in one.kept}
    return Audited(trails=trails, lost_heads=[one for one in heads if one.lower() not in kept])


def _bounded(file: io.TextIOWrapper, path: Path) -> Iterator[str]:
    while line := file.readline(MAX_LINE + 1):
        if len(line) > MAX_LINE:
            raise unreadable(str(path), f"a line is longer than {MAX_LINE // 2**20} MB")
        yield line
