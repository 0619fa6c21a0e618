"""One pass: read, judge, apply, record, prove; in one transaction of the target."""

from collections.abc import Iterable
from dataclasses import dataclass

from taly.database.carry import keyless
from taly.database.carry.applying import Applying
from taly.database.carry.capture import changed_tables
from taly.database.carry.foreign import Reference
from taly.database.carry.judging import find_deletes, judge
from taly.database.carry.moving import Move
from taly.database.carry.recording import Tally, prove, record, tally
from taly.database.carry.shape import Shape
from taly.database.carry.sql import number, run
from taly.database.carry.work import Name, Work

NOTHING = Tally(changes=0, carried=0, rescued=0, unchanged=0, deleted=0)


@dataclass(frozen=True, slots=True, kw_only=True)
class Pass:
    """What a pass is to look at."""

    move: Move
    last: str
    """The snapshot of the pass before; empty in the first one."""
    uncaptured: frozenset[int]
    """Tables whose changes nobody notes."""
    ending: bool
    """Whether writers wait: what is not captured must be compared now."""
    references: tuple[Reference, ...]
    live: dict[int, tuple[int, str]]
    """Table's number → live rows and checksum when it was last compared; filled here."""
    backup: dict[Name, tuple[int, str]]
    """Table of the target → rows and checksum that it had; filled by the first pass."""
    shape: Shape
    again: set[int]
    """Tables with rows that may fit once others have changed; kept here from pass to pass."""

    def go(self) -> tuple[Tally, set[int]]:
        """Do it; the caller commits. Returns the tables that were touched, too."""
        works = self.move.works.tables
        every = {work.n for work in works}
        changed, whole = every, every
        if self.last:
            changed, whole = changed_tables(self.move.source, self.move.name, self.last)
            unseen = self.uncaptured if self.ending else frozenset[int]()
            whole |= unseen | self.shape.check(self.move.source, self.move.works)
            changed |= whole | self.again
        extra: set[int] = set()
        touched: list[Work] = []
        applied: list[Work] = []
        rescued = 0
        for work in works:
            if work.n not in changed:
                continue
            if work.parts and work.n in whole:
                extra.add(work.n)  # of these even a row that reads the same may be in the bundle
            if work.target is None:
                rescued += self._extra(work, whole=work.n in whole)
                extra.add(work.n)
            elif work.key:
                if self._keyed(work, whole=work.n in whole):
                    touched.append(work)
                    applied.append(work)
            elif self._differs(work):
                self.move.scratch.stage(self.move.target, work)
                replaced = keyless.stage(self.move, work)
                touched.append(work)
                applied += [work] if replaced else []
        found = self._finish(touched, applied, rescued)
        return found, extra | {work.n for work in touched}

    def _finish(self, touched: list[Work], applied: list[Work], rescued: int) -> Tally:
        move = self.move
        Applying(
            target=move.target,
            scratch=move.scratch,
            works=move.works,
            references=self.references,
            say=move.say,
        ).apply(applied)
        for work in touched:
            move.say(f"{work.label}: proves")
            record(move, work)
            self._remember_again(work)
            if work.key:
                prove(move, work)
            elif keyless.live(move, work) != keyless.theirs(move, work):
                keyless.refuse(work)
        found = [tally(move, work) for work in touched]
        return _sum(
            [*found, Tally(changes=rescued, carried=0, rescued=rescued, unchanged=0, deleted=0)]
        )

    def _remember_again(self, work: Work) -> None:
        f = self.move.scratch.at("f", work)
        self.again.discard(work.n)
        if work.key and number(self.move.target, f"SELECT count(*) FROM {f} WHERE again"):
            self.again.add(work.n)

    def _differs(self, work: Work) -> bool:
        live = keyless.live(self.move, work)
        self.live[work.n] = (live[0], str(live[1]))
        if work.target is not None and work.parts:
            return True  # the sums know nothing of values that have no place there
        return live != keyless.theirs(self.move, work)

    def _keyed(self, work: Work, *, whole: bool) -> bool:
        """Stage and judge; False when there is nothing to do."""
        move, w = self.move, self.move.scratch.at("w", work)
        move.scratch.stage(move.target, work)
        if self.last:
            self._note(work)
        elif move.since is not None:
            move.stage_since(work)
        if whole:
            move.stage_parts(work)
            if self.last:
                # Of a rescued row the sums know only what has a place.
                f = move.scratch.at("f", work)
                run(move.target, f"INSERT INTO {w} SELECT kh, k FROM {f} WHERE fate = 'rescued'")
                move.stage_keys(work)
            found = move.compare(work)
            self.live[work.n] = (found.rows, found.checksum)
            if not self.last and work.target is not None and work.target in move.works.leaves:
                self.backup[work.target] = (found.own_rows, found.own_checksum)
            run(
                move.target,
                f"DELETE FROM {w} w USING {move.scratch.at('s', work)} s"
                " WHERE s.kh = w.kh AND s.k = w.k",
            )
        if number(move.target, f"SELECT count(*) FROM (SELECT FROM {w} LIMIT 1) w"):
            move.stage_keys(work)
        elif not number(
            move.target,
            f"SELECT count(*) FROM (SELECT FROM {move.scratch.at('s', work)} LIMIT 1) s",
        ):
            return False
        leaves = move.since is not None and move.since.leaves
        judge(move.target, move.scratch, work, leaves=leaves)
        gone = number(
            move.target,
            f"SELECT count(*) FROM {move.scratch.at('f', work)} WHERE fate = 'deleted'",
        )
        find_deletes(move.target, move.scratch, work, gone)
        return True

    def _note(self, work: Work) -> None:
        """What was captured, and rows that may fit now that others have changed."""
        move = self.move
        if work.n not in self.uncaptured:
            move.note_changed(work, self.last)
        run(
            move.target,
            f"INSERT INTO {move.scratch.at('w', work)} SELECT kh, k"
            f" FROM {move.scratch.at('f', work)} WHERE again",
        )

    def _extra(self, work: Work, *, whole: bool) -> int:
        """A table that only the source has: its rows are rescued, and kept up to date."""
        move, r = self.move, self.move.scratch.at("r", work)
        if whole:
            run(move.target, f"TRUNCATE {r}")
            count = move.rescue_all(work)
            live = keyless.live(move, work)
            self.live[work.n] = (live[0], str(live[1]))
            if live != keyless.theirs(move, work):
                keyless.refuse(work)
            return count
        if not work.key or not self.last:
            return 0
        move.scratch.stage(move.target, work)
        count = move.note_changed(work, self.last)
        if count:
            w = move.scratch.at("w", work)
            run(move.target, f"DELETE FROM {r} r USING {w} w WHERE r.kh = w.kh AND r.k = w.k")
            move.fetch_live(work, f"SELECT kh, k FROM {w}")
        return count


def _sum(found: Iterable[Tally]) -> Tally:
    every = list(found)
    return Tally(
        changes=sum(one.changes for one in every),
        carried=sum(one.carried for one in every),
        rescued=sum(one.rescued for one in every),
        unchanged=sum(one.unchanged for one in every),
        deleted=sum(one.deleted for one in every),
    )
