"""The runs of other machines, and what this one tells them of its own."""

import threading
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import structlog

from taly.engine.shared.audit import Audit, to_text
from taly.engine.shared.local import LocalStore
from taly.engine.shared.objects import Changed, Objects
from taly.engine.shared.trails import SharedTrails
from taly.engine.store.port import RunSummary
from taly.errors import OutcomeUnknown, TalyError, UsageError, VerificationFailed

log = structlog.get_logger(__name__)

FINISHED, PROGRESS, CANCEL = "audit.jsonl", "progress.jsonl", "cancel"
FRESH_S = 1.0
ALL = 2**31 - 1
READERS = 8
"""Runs that are read at the same time."""


class SharedRuns:
    """Finished runs, kept for ever and copied to this machine; and those under way elsewhere."""

    def __init__(
        self,
        objects: Objects,
        environment: str,
        *,
        local: LocalStore,
        folder: Path,
        notice: Callable[[str], None],
        tick: Callable[[], float] = time.monotonic,
    ) -> None:
        """`folder` keeps copies of other machines' finished runs, which never change."""
        self._objects, self._environment, self._local = objects, environment, local
        self._prefix = f"{environment}/runs/"
        self._folder, self._notice, self._tick = folder, notice, tick
        self._trails = SharedTrails(objects, environment, local=local)
        self._mutex = threading.Lock()
        self._shared: set[tuple[str, str]] | None = None
        self._listed_at = 0.0

    def tell(self, run_id: str) -> None:
        """Let others see how far a run of this machine is; a finished one for good."""
        run, events = self._local.rows_of(run_id)
        if run["outcome"] is None:
            self._objects.overwrite(self._key(run_id, PROGRESS), to_text(run, events))
            return
        text = to_text(run, events, self._trail_told())
        try:
            self._objects.put(self._key(run_id, FINISHED), text, over=None)
        except Changed:
            log.debug("a finished run was shared before", run=run_id)

    def _trail_told(self) -> str:
        """The name of this machine's audit trail, up to date where all can verify it."""
        try:
            return self._trails.tell()
        except VerificationFailed as broken:
            self._notice(f"the audit trail could not be shared: {broken.message}")
            return ""

    def finished(self) -> dict[str, Audit]:
        """Every finished run of all machines, as it is shared now; OutcomeUnknown."""
        keys = self._objects.keys(self._prefix)
        ids = [run_id for run_id, name in map(self._named, keys) if name == FINISHED]
        with ThreadPoolExecutor(READERS) as pool:
            audits = list(pool.map(lambda run_id: self._fetched(run_id, FINISHED), ids))
        return {run_id: one for run_id, one in zip(ids, audits, strict=True) if one is not None}

    def others(self, limit: int) -> list[RunSummary]:
        """The newest runs of other machines, in no order.

        What this one finished and could not share goes there now.
        """
        known = self._listing()
        if known is None:
            return [Audit(text=one.read_bytes(), place=str(one)).summary for one in self._copies()]
        own = {one.id: one for one in self._local.runs(self._environment, limit=ALL)}
        finished = {run_id for run_id, name in known if name == FINISHED}
        under_way = {run_id for run_id, name in known if name == PROGRESS} - finished
        self._catch_up([one for one in own.values() if one.outcome and one.id not in finished])
        newest = sorted((finished | under_way) - own.keys(), reverse=True)[:limit]
        with ThreadPoolExecutor(READERS) as pool:  # a fresh CI runner has no copies yet
            audits = pool.map(
                lambda run_id: (
                    self._finished(run_id)
                    if run_id in finished
                    else self._fetched(run_id, PROGRESS)
                ),
                newest,
            )
        return [audit.summary for audit in audits if audit is not None]

    def _catch_up(self, untold: list[RunSummary]) -> None:
        for one in untold:
            try:
                self.tell(one.id)
            except TalyError as error:
                self._notice(f"{one.id} could not be shared: {error.message}")
                return

    def one(self, run_id: str) -> Audit:
        """A run of another machine, as far as it told; UsageError `run-unknown`."""
        copy = self._copy(run_id)
        if copy.exists():
            return Audit(text=copy.read_bytes(), place=str(copy))
        for name in (FINISHED, PROGRESS):
            audit = self._fetched(run_id, name)
            if audit is not None:
                return audit
        raise UsageError(f"there is no run {run_id}", reference="run-unknown", hint="taly runs")

    def ask_to_cancel(self, run_id: str, by: str) -> None:
        """Leave word for the machine that works on the run; it looks at each renewal."""
        self._objects.overwrite(self._key(run_id, CANCEL), (by or "someone").encode())

    def hear_cancel(self, run_id: str) -> None:
        """Pass on what another machine asked of our run."""
        asked = self._objects.get(self._key(run_id, CANCEL))
        if asked is not None and not self._local.cancel_requested_by(run_id):
            self._local.request_cancel(run_id, asked.body.decode(errors="replace")[:200])

    def _listing(self) -> set[tuple[str, str]] | None:
        """(run id, object) of all that is shared; None when it is out of reach, and says so."""
        with self._mutex:
            if self._shared is None or self._tick() - self._listed_at > FRESH_S:
                try:
                    keys = self._objects.keys(self._prefix)
                except OutcomeUnknown:
                    self._notice(
                        f"{self._objects.place} is out of reach: other machines' runs are shown "
                        "as far as this one saw them"
                    )
                    return None
                self._shared = set(map(self._named, keys))
                self._listed_at = self._tick()
            return self._shared

    def _finished(self, run_id: str) -> Audit:
        copy = self._copy(run_id)
        if not copy.exists():
            audit = self._fetched(run_id, FINISHED)
            assert audit is not None, "what is finished is never removed"
            copy.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
            part = copy.with_name(f"{copy.name}.{threading.get_ident()}.part")
            part.write_bytes(audit.text)
            part.replace(copy)
        return Audit(text=copy.read_bytes(), place=str(copy))

    def _fetched(self, run_id: str, name: str) -> Audit | None:
        key = self._key(run_id, name)
        stored = self._objects.get(key)
        if stored is None:
            return None
        return Audit(text=stored.body, place=f"{self._objects.place}/{key}")

    def _named(self, key: str) -> tuple[str, str]:
        run_id, _, name = key.removeprefix(self._prefix).partition("/")
        return run_id, name

    def _copies(self) -> list[Path]:
        return sorted(self._folder.glob("run-*.jsonl"))

    def _copy(self, run_id: str) -> Path:
        return self._folder / f"{Path(run_id).name}.jsonl"

    def _key(self, run_id: str, name: str) -> str:
        return f"{self._prefix}{run_id}/{name}"


class Mirror:
    """Tells the others in the background how far one run is; they may see it a little late."""

    EVERY_S = 3.0

    def __init__(self, runs: SharedRuns, run_id: str, *, every_s: float = EVERY_S) -> None:
        self._runs, self._run_id, self._every_s = runs, run_id, every_s
        self._news, self._stop = threading.Event(), threading.Event()
        self._news.set()
        self._thread = threading.Thread(target=self._tell, daemon=True, name="taly-mirror")
        self._thread.start()

    def heard(self) -> None:
        """There is something new."""
        self._news.set()

    def stop(self) -> None:
        """Tell no more."""
        self._stop.set()
        self._news.set()
        self._thread.join(timeout=self._every_s)

    def _tell(self) -> None:
        while self._news.wait() and not self._stop.is_set():
            self._news.clear()
            try:
                self._runs.tell(self._run_id)
            except TalyError as error:
                log.debug("the run's progress could not be shared", error=error.message)
                self._news.set()
            self._stop.wait(self._every_s)
