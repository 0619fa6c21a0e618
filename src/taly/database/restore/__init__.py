"""A backup takes the live database's place, with everything that was written since; and back."""

from taly.database.restore.asides import Aside, Forgotten, forget, put_aside
from taly.database.restore.running import check, restore

__all__ = ["Aside", "Forgotten", "check", "forget", "put_aside", "restore"]
