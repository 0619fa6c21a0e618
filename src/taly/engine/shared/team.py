"""What a team shares of one environment, as this process reaches it."""

from collections.abc import Callable
from contextlib import suppress
from functools import partial
from pathlib import Path

from taly.engine.journal import monotonic_s
from taly.engine.shared.holding import Holding
from taly.engine.shared.keeper import Keeper
from taly.engine.shared.local import LocalStore
from taly.engine.shared.lock import EnvironmentLock, Look
from taly.engine.shared.objects import Objects
from taly.engine.shared.releases import SharedReleases
from taly.engine.shared.runs import Mirror, SharedRuns
from taly.engine.shared.trails import SharedTrails
from taly.errors import TalyError, UsageError

IDLE_LEASES = 2
"""Leases for which a lock is kept while nobody asks for it: a run that begins needs a moment."""


class Team:
    """The lock, the releases and the runs of one environment."""

    def __init__(
        self,
        objects: Objects,
        environment: str,
        *,
        local: LocalStore,
        folder: Path,
        notice: Callable[[str], None],
        tick: Callable[[], float] = monotonic_s,
    ) -> None:
        """`folder` keeps this machine's copies of what never changes."""
        folder = folder / environment
        self.environment, self.place, self.objects = environment, objects.place, objects
        self._local, self._notice = local, notice
        self.lock = EnvironmentLock(objects, environment, tick=tick, notice=notice)
        self.releases = SharedReleases(
            objects, environment, local=local, copy=folder / "releases.json", notice=notice
        )
        self.trails = SharedTrails(objects, environment, local=local)
        self.runs = SharedRuns(
            objects, environment, local=local, folder=folder / "runs", notice=notice
        )

    def look(self) -> Look:
        """The lock, having watched its holder; see `EnvironmentLock.look`."""
        return self.lock.look(self.is_gone)

    def is_gone(self, holding: Holding) -> bool:
        """Whether this machine knows that nobody works under this lock any more."""
        if holding.owner.is_dead():
            return True
        with suppress(UsageError):  # not a run of this machine
            return self._local.run(holding.run).outcome is not None
        return False

    def begin(self, run_id: str, lease_s: float) -> "Held":
        """Keep the lock that was taken, and let others see the run."""
        return Held(self, run_id, lease_s)

    def end(self, held: "Held") -> None:
        """The run is over: everybody may see it, and the environment is free.

        What cannot be said now is said by this machine's next command, or by the lock's silence.
        """
        held.stop()
        self._say(f"{held.run_id} is over", partial(self.runs.tell, held.run_id))
        self._say(f"{self.environment} is free", self.lock.free)

    def leave(self, held: "Held") -> None:
        """Nobody works on the run any more, and it is not over."""
        held.stop()
        self._say(f"{held.run_id} was left", self.lock.leave)
        self._say(f"how far {held.run_id} is", partial(self.runs.tell, held.run_id))

    def _say(self, what: str, saying: Callable[[], None]) -> None:
        try:
            saying()
        except TalyError as error:
            self._notice(f"{self.place} could not be told: {what} ({error.message})")


class Held:
    """The environment, while this process works on it."""

    def __init__(self, team: Team, run_id: str, lease_s: float) -> None:
        self.team, self.run_id, self._lease_s = team, run_id, lease_s
        self._used_at = monotonic_s()
        cancel = partial(team.runs.hear_cancel, run_id)
        self._keeper = Keeper(team.lock, lease_s=lease_s, also=cancel, wanted=self._is_used)
        self.mirror = Mirror(team.runs, run_id)

    def check(self) -> None:
        """Return while nobody else can have the environment; see `EnvironmentLock.check`."""
        self._used_at = monotonic_s()
        self.team.lock.check()

    def _is_used(self) -> bool:
        """Whether somebody works on the run: the engine asks more than once a second.

        One that gave up, in a process that lives on, keeps nobody off.
        """
        return monotonic_s() - self._used_at < self._lease_s * IDLE_LEASES

    def stop(self) -> None:
        """Renew and tell no more."""
        self._keeper.stop()
        self.mirror.stop()
