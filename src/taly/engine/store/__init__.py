"""The store: runs, events, the environment's lock, release names, records and marks."""

from taly.engine.store.chain import Entry
from taly.engine.store.open import open_store
from taly.engine.store.port import (
    Head,
    Lease,
    Marked,
    RecordedRelease,
    RunSummary,
    Store,
    WorkerRow,
)

__all__ = [
    "Entry",
    "Head",
    "Lease",
    "Marked",
    "RecordedRelease",
    "RunSummary",
    "Store",
    "WorkerRow",
    "open_store",
]
