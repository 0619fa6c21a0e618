"""The store: runs, events, the environment's lock, release names, records and marks."""

from taly.engine.store.open import open_store
from taly.engine.store.port import (
    Lease,
    Marked,
    RecordedRelease,
    RunSummary,
    Store,
)

__all__ = ["Lease", "Marked", "RecordedRelease", "RunSummary", "Store", "open_store"]
