"""The audit trail: verified, exported, and its ends told so that they can be kept elsewhere."""

import io
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from itertools import chain
from pathlib import Path
from typing import TYPE_CHECKING

from taly.app.context import Context
from taly.app.shared import team_of
from taly.engine.audit import Line, Walked, read_lines, to_line, verify_store
from taly.engine.audit.exported import export, part_of, verify_lines
from taly.engine.audit.lines import MAX_LINE, unreadable
from taly.engine.store import Store
from taly.errors import OutcomeUnknown, TalyError, UsageError

if TYPE_CHECKING:
    from taly.engine.shared import Team


@dataclass(frozen=True, slots=True, kw_only=True)
class Audited:
    """What a verification came to."""

    trails: Sequence[Walked]
    lost_heads: Sequence[str]
    """Of the heads that were given, those that stand in no trail."""
    unproven: Sequence[str] = ()
    """Runs that were shared without their machine's trail, so that nothing proves them."""
    unseen: TalyError | None = None
    """Why other machines' trails were not verified."""

    @property
    def is_intact(self) -> bool:
        """Whether all that could be seen is as it was written."""
        return not self.lost_heads and all(one.finding is None for one in self.trails)


def audited(context: Context, heads: Sequence[str]) -> Audited:
    """Verify every trail of the store, and every one that a team's machines shared."""
    here = list(verify_store(own_store(context), heads))
    team = team_of(context)
    if team is None:
        return _audited(here, heads)
    try:
        told = team.runs.finished()
        there, unproven = team.trails.verified(told, heads)
    except OutcomeUnknown as error:
        said = f"other machines' audit trails were not verified: {error.message}"
        unseen = OutcomeUnknown(said, reference=error.reference, hint=error.hint)
        return replace(_audited(here, heads), unseen=unseen)
    return replace(_audited([*here, *there], heads), unproven=unproven)


def own_store(context: Context) -> Store:
    """The store whose rows repeat what its trail says: others' runs stand in others' trails."""
    if team_of(context) is None:
        return context.store
    from taly.engine.shared import SharedStore

    assert isinstance(context.store, SharedStore), "else there is no team"
    return context.store.local


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
    """The lines of one environment's trail; of all machines' trails, where a team shares them.

    UsageError when it has no such run.
    """
    name = environment or context.environment.name
    if run:
        name = context.store.run(run).environment
    here = export(context.store, name, run=run, since=since)
    team = team_of(context)
    if team is None or name != team.environment:
        return map(to_line, here)
    return map(to_line, _of_all(team, here, run=run, since=since))


def _of_all(
    team: "Team", here: Iterator[Line], *, run: str, since: datetime | None
) -> Iterator[Line]:
    """This machine's lines and the others', each with the trail that it belongs to."""
    own = team.trails.own()
    found = [
        replace(line, trail=name)
        for name in team.trails.names()
        if name != own
        for line in part_of(list(team.trails.lines(name)), run=run, since=since)
    ]
    ours = (replace(line, trail=own) for line in here)
    first = next(ours, None)
    if run and first is None and not found:
        raise UsageError(
            f"{run} stands in no audit trail that was shared: it is not over, or its machine could "
            "not tell yet",
            reference="trail-not-shared",
            hint=f"taly show {run}",
        )
    return chain([first] if first else [], ours, found)


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
