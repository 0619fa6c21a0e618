"""Backups that lie elsewhere: a temporary server that holds one, to read it from."""

from taly.database.sources.port import Find, Source
from taly.database.sources.rds import Rds
from taly.database.sources.temporary import Restored, discard, for_run, for_verify

__all__ = ["Find", "Rds", "Restored", "Source", "discard", "for_run", "for_verify"]
