"""DBOS carries a run; what happened to its steps stands in our own store (docs/adr/0002).

Nothing here is imported by commands that only read: DBOS alone costs 0.4 s. `Engine.execute` does
the same without it, so that it can be replaced.
"""

import logging
import sqlite3
import threading
import uuid
from collections.abc import Callable
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Protocol

from taly.engine.runner import Engine, OnEvent, nobody
from taly.engine.store.sqlite import keep_a_log, make_private
from taly.model.run import Run

if TYPE_CHECKING:
    from dbos import DBOS

APP_NAME = "taly"
PROTOCOL_VERSION = "1"
"""Pinned: DBOS would derive a version from the code, and never run a run of another version."""
SCHEMA = "taly_dbos"
WORKFLOW = "taly.run"
WAKE_S = 0.5
"""How often the main thread looks up: a signal may be delivered to another thread."""
QUEUE_POLL_S = 0.05
_COMPLETE = frozenset({"SUCCESS", "ERROR"})


class Executor(Protocol):
    """What works through a run: `Engine` itself, or DBOS around it."""

    def execute(self, run_id: str, on_event: OnEvent = nobody) -> Run:
        """See Engine.execute."""
        ...

    def resume(self, run_id: str, on_event: OnEvent = nobody) -> Run:
        """See Engine.resume."""
        ...


class Unfinished(BaseException):
    """The run ended here and is not over: DBOS must not record an end either.

    A BaseException, as LeaseLost is: DBOS keeps any Exception as the workflow's result for ever.
    """


@dataclass(slots=True)
class _Job:
    """One run that this process works on: what DBOS's thread is to do, and what came of it."""

    work: Callable[[], Run]
    ended: threading.Event
    run: Run | None = None
    error: BaseException | None = None


_jobs: dict[str, _Job] = {}
"""By run id. DBOS calls workflows by their registered name, so this cannot be anybody's field."""
_launched: "list[DurableExecutor]" = []
"""The one that has DBOS, if any: it is a singleton, and a failed run that is taken back is followed
by a second run in the same process."""


def _workflow(run_id: str) -> dict[str, str]:
    """The workflow: goes in with an id, comes out with an outcome. Errors stay in this process."""
    job = _jobs[run_id]
    try:
        job.run = job.work()
    except BaseException as error:
        job.error = error
        raise Unfinished from error
    finally:
        job.ended.set()
    if job.run.outcome is None:
        raise Unfinished
    return {"outcome": job.run.outcome}


class DurableExecutor:
    """Executes runs of one engine as DBOS workflows. One at a time: DBOS is a singleton."""

    def __init__(self, engine: Engine, store_url: str | Path) -> None:
        """DBOS keeps its tables beside the store: in `<file>.dbos`, or in a schema of its own."""
        self._engine = engine
        self._url = _system_url(str(store_url))
        self._id = f"taly-{uuid.uuid4().hex[:12]}"
        self._dbos: type[DBOS] | None = None

    def execute(self, run_id: str, on_event: OnEvent = nobody) -> Run:
        """As Engine.execute: a run that was started or taken over here."""
        if not self._engine.holds(run_id):
            self._engine.take_over(run_id)
        if self._engine.is_successor(run_id):
            self._announce_queue()
        return self._carry(self._launched(), run_id, on_event)

    def resume(self, run_id: str, on_event: OnEvent = nobody) -> Run:
        """As Engine.resume. Our lease decides who may; DBOS is only told afterwards."""
        self._engine.take_over(run_id)
        self._announce_queue()
        return self._carry(self._launched(), run_id, on_event)

    def close(self) -> None:
        """Shut DBOS down in good order; takes a second on SQLite, so a process that ends need not.

        Nothing is lost without it: a run's end is recorded before `execute` returns.
        """
        if self._dbos is not None:
            self._dbos.destroy(destroy_registry=True)
            self._dbos = None
            _launched.remove(self)

    def _carry(self, dbos: "type[DBOS]", run_id: str, on_event: OnEvent) -> Run:
        job = _Job(work=lambda: self._engine.execute(run_id, on_event), ended=threading.Event())
        _jobs[run_id] = job
        self._hand_over(dbos, run_id)
        self._wait(job, run_id)
        if job.error is not None:
            raise job.error
        assert job.run is not None, "a job that ended has a run or an error"
        if job.run.outcome is not None:
            dbos.retrieve_workflow(run_id).get_result(polling_interval_sec=QUEUE_POLL_S)
        return job.run

    def _wait(self, job: _Job, run_id: str) -> None:
        """The signals come to this thread, the work is done in DBOS's; see Engine.execute."""
        interrupted = False
        while not job.ended.is_set():
            try:
                job.ended.wait(WAKE_S)
            except KeyboardInterrupt:
                if interrupted:
                    self._engine.abandon(run_id)
                    raise
                interrupted = True
                self._engine.interrupt(run_id)
        if interrupted and job.run is not None and job.run.outcome is None:
            raise KeyboardInterrupt

    def _begin(self, dbos: "type[DBOS]", run_id: str) -> None:
        """In this process, at once: no other one looks for it, for our executor id is our own."""
        from dbos import SetWorkflowID

        with SetWorkflowID(run_id):
            dbos.start_workflow(self._registered, run_id)

    def _hand_over(self, dbos: "type[DBOS]", run_id: str) -> None:
        """Begin the workflow, or take a dead process's over into a queue that only we serve.

        DBOS is asked which it is: told to start a workflow that it knows, it waits for the dead
        process for ever.
        """
        known = dbos.get_workflow_status(run_id)
        if known is None:  # a new run, or its process died before DBOS heard of it
            self._begin(dbos, run_id)
        elif known.status in _COMPLETE:  # not by us; our store says that the run is not over
            threading.Thread(target=self._run_without, args=(run_id,), daemon=True).start()
        else:
            dbos.register_queue(self._id, polling_interval_sec=QUEUE_POLL_S)
            dbos.resume_workflow(run_id, queue_name=self._id)

    def _run_without(self, run_id: str) -> None:
        try:
            _workflow(run_id)
        except Unfinished:
            return

    def _announce_queue(self) -> None:
        """Have our queue known to DBOS before it starts: it looks for new ones once a second.

        Where it has no tables yet, or they cannot be reached, `_hand_over` registers it later.
        """
        if self._dbos is not None:
            return
        _silence()
        from dbos import DBOSClient, DBOSPortableJSONSerializer
        from sqlalchemy.exc import SQLAlchemyError

        client = DBOSClient(
            system_database_url=self._url,
            dbos_system_schema=SCHEMA,
            serializer=DBOSPortableJSONSerializer(),
            system_database_pool_size=1,
            application_name=APP_NAME,
            lazy=True,
            retry_connection_errors=False,
        )
        try:
            client.register_queue(self._id, polling_interval_sec=QUEUE_POLL_S)
        except SQLAlchemyError:
            return
        finally:
            client.destroy()

    def _launched(self) -> "type[DBOS]":
        if self._dbos is not None:
            return self._dbos
        for other in tuple(_launched):
            other.close()
        _silence()
        from dbos import DBOS, DBOSConfig, DBOSPortableJSONSerializer

        config = DBOSConfig(
            name=APP_NAME,
            system_database_url=self._url,
            dbos_system_schema=SCHEMA,
            application_version=PROTOCOL_VERSION,
            executor_id=self._id,
            serializer=DBOSPortableJSONSerializer(),
            use_listen_notify=False,
            log_level="CRITICAL",
            console_log_level="CRITICAL",
            enable_otlp=False,
        )
        DBOS(config=config)
        self._registered = DBOS.workflow(name=WORKFLOW, max_recovery_attempts=None)(_workflow)
        DBOS.listen_queues([self._id])
        DBOS.launch()
        self._dbos = DBOS
        _launched.append(self)
        return DBOS


def _silence() -> None:
    """DBOS would put a console handler of its own there, and 76 lines through it."""
    logger = logging.getLogger("dbos")
    logger.setLevel(logging.CRITICAL)
    logger.propagate = False
    if not logger.handlers:
        logger.addHandler(logging.NullHandler())


def _system_url(store_url: str) -> str:
    """The address of DBOS's own tables; its SQLite file is made private, and WAL, by us."""
    if store_url.startswith(("postgresql://", "postgres://")):
        return store_url
    path = Path(store_url.removeprefix("sqlite:///")).expanduser()
    if store_url.startswith("sqlite:///"):
        path = Path("/") / path
    beside = path.with_name(f"{path.name}.dbos").absolute()
    make_private(beside)
    with closing(sqlite3.connect(beside)) as connection:
        keep_a_log(connection)
    return f"sqlite:///{beside}"
