"""One migration taken back in place, and applied again: whole, proved, and nothing lost."""

from taly.database.revert.again import apply_again
from taly.database.revert.check import check
from taly.database.revert.taking import revert

__all__ = ["apply_again", "check", "revert"]
