"""Whether a database that went back has the schema from before, not only the ledger."""

from pathlib import Path

from taly.database.checkpoint.catalog_file import BEFORE, read_catalog_file
from taly.database.connection import Target, reading
from taly.database.snapshot import read_catalog
from taly.model.plan import Step
from taly.planning.catalog_diff import Difference, differences


def differs(step: Step, target: Target) -> tuple[Difference, ...]:
    """What of the checkpoint's schema is not as it was; what was added meanwhile does no harm.

    Nothing where no checkpoint says how it was. Raises VendorUnavailable, VendorRefused, Refused.
    """
    name = step.address.get("checkpoint", "")
    if not name or step.address.get("undoes"):
        return ()
    before = read_catalog_file(Path(step.address["checkpoints"]) / name / BEFORE)
    with reading(target) as connection:
        live = read_catalog(connection, before.schemas)
    return tuple(one for one in differences(before, live) if one.kind != "added")
