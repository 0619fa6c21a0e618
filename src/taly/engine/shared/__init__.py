"""A lock, releases and runs that a team shares without a database: objects in S3."""

from taly.engine.shared.holding import Holding, held_by
from taly.engine.shared.lock import Look
from taly.engine.shared.s3 import S3Objects
from taly.engine.shared.store import SharedStore
from taly.engine.shared.team import Team

__all__ = ["Holding", "Look", "S3Objects", "SharedStore", "Team", "held_by"]
