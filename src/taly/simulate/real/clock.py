"""The emulators' clock: the simulator's time, or a moment ago while an old state is read."""

from datetime import datetime

from taly.sandbox.world import VirtualClock
from taly.simulate.timeline import Timeline, instant


class EstateClock(VirtualClock):
    """Stands still while the past is made, then follows the timeline."""

    def __init__(self, timeline: Timeline | None = None) -> None:
        """`timeline`: None = a time in which nothing happens."""
        super().__init__()
        self.timeline = timeline or Timeline()
        self.back_s = 0.0
        """How long ago it is made to be, for a read that shows an old state."""

    def now(self) -> datetime:
        """The instant."""
        if self.stands:
            return super().now()
        return instant(self.timeline.now - self.back_s)
