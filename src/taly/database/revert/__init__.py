"""One migration taken back in place, and applied again: whole, proved, and nothing lost."""

from taly.database.revert.taking import revert

__all__ = ["revert"]
