"""Whether a database that a backup stands in for has the schema from before, not only its ledger.

A revert proves its own schema before it commits, knowing what differed already; here nobody knows.
"""

from pathlib import Path

from taly.database.checkpoint.catalog_file import BEFORE, read_catalog_file
from taly.database.checkpoint.folder import load
from taly.database.checkpoint.verify import comparable
from taly.database.connection import Target, reading
from taly.database.snapshot import read_catalog
from taly.model.plan import Step
from taly.planning.catalog_diff import Difference, differences


def differs(step: Step, target: Target) -> tuple[Difference, ...]:
    """What of the checkpoint's schema is not as it was; what was added meanwhile does no harm.

    Nothing where none was restored. Raises VendorUnavailable, VendorRefused, Refused.
    """
    name = step.address.get("checkpoint", "")
    if not name or step.address.get("undoes") or step.address.get("migration"):
        return ()
    path = Path(step.address["checkpoints"]) / name
    before = read_catalog_file(path / BEFORE)
    dumped = load(path).manifest.backup.kind != "template"
    with reading(target) as connection:
        live = read_catalog(connection, before.schemas)
    found = differences(comparable(before, dumped), comparable(live, dumped))
    return tuple(one for one in found if one.kind != "added")
