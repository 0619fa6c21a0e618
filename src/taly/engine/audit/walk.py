"""Walking along one environment's trail: every entry is compared with its hash."""

from collections.abc import Collection

from taly.engine.audit.findings import Finding, Kind, Walked
from taly.engine.store.chain import Entry, beginning, link
from taly.engine.store.upgrading import CHAINED

CHAIN_BEGAN = f'{{"kind":"{CHAINED}",'
"""How the act begins that the store's upgrade wrote."""


class Walk:
    """Takes entries in their order and stops at the first that is wrong."""

    def __init__(
        self, environment: str, heads: Collection[str] = (), *, previous: str = "", first: int = 1
    ) -> None:
        """`heads`: hashes to look for; `previous`: the one before `first`, for a part."""
        self.environment = environment
        self.finding: Finding | None = None
        self.position = first - 1
        self.head = previous or beginning(environment)
        self._first = first
        self._wanted = {head.lower() for head in heads}
        self._kept: dict[str, int] = {}
        self._runs: set[str] = set()
        self.last: Entry | None = None
        self._events = self._acts = self._chained_from = 0

    def take(self, entry: Entry) -> bool:
        """Whether the entry is the next, and to the letter what was written."""
        if entry.position != self.position + 1:
            self._out_of_line(entry)
        elif link(self.head, entry) != entry.chain:
            self.find("altered", entry, f"{named(entry)} is not what was written there")
        if self.finding is not None:
            return False
        self.position, self.head, self.last = entry.position, entry.chain, entry
        self._count(entry)
        return True

    def ends_at(self, position: int, chain: str) -> None:
        """Compare with the end as it was kept beside the entries."""
        if self.finding is not None:
            return
        if position > self.position:
            self.missing(position)
        elif position < self.position:
            says = f"entries behind {position}, where the trail ended, were added"
            self.find("added", None, says, position=position + 1)
        elif chain != self.head:
            self.find("altered", None, "the trail's recorded end is not the last entry's hash")

    def missing(self, position: int) -> None:
        """Entries up to that one should have come."""
        first = self.position + 1
        what = f"entry {first} is" if position == first else f"entries {first} to {position} are"
        says = f"{what} missing, {self._behind()}"
        self.find("missing", self.last, says, position=first)

    def find(self, kind: Kind, entry: Entry | None, says: str, position: int = 0) -> None:
        """Note the first finding; later ones may follow from it."""
        if self.finding is None:
            self.finding = Finding(
                kind=kind,
                environment=self.environment,
                position=position or (entry.position if entry else self.position),
                run=entry.run if entry else "",
                seq=entry.seq if entry else 0,
                says=says,
            )

    def walked(self) -> Walked:
        """What it came to."""
        return Walked(
            environment=self.environment,
            events=self._events,
            acts=self._acts,
            runs=len(self._runs),
            first=self._first,
            last=self.position,
            head=self.head,
            chained_from=self._chained_from,
            finding=self.finding,
            kept=dict(self._kept),
        )

    def _out_of_line(self, entry: Entry) -> None:
        position = entry.position
        if isinstance(position, int) and position > self.position:
            self.missing(position - 1)
        else:
            self.find("added", entry, f"{named(entry)} stands in another entry's place")

    def _behind(self) -> str:
        if self.last is None:
            return "at the beginning"
        return f"behind {named(self.last)}"

    def _count(self, entry: Entry) -> None:
        if entry.run:
            self._events += 1
            self._runs.add(entry.run)
        else:
            self._acts += 1
            if entry.body.startswith(CHAIN_BEGAN) and not self._chained_from:
                self._chained_from = entry.position
        if entry.chain in self._wanted:
            self._kept[entry.chain] = entry.position


def named(entry: Entry) -> str:
    """The entry as a person would look for it."""
    what = f"{entry.run} event {entry.seq}" if entry.run else "something done outside runs"
    return f"entry {entry.position} ({what})"
