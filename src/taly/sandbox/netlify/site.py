"""One emulated site: builds, publishing, the lock, retention. Time comes in as an argument."""

import hashlib
from datetime import datetime, timedelta
from typing import Any

from taly.sandbox.emulator import Outcome
from taly.sandbox.netlify.records import (
    BUILDING,
    FINISHED,
    DeployRecord,
    Happening,
    Switches,
    instant,
)

SERVES_BADLY_S = 60.0
"""Virtual seconds that a `failed-late` deploy serves before a person publishes the previous one."""
FAILED_DEPLOYS_KEPT = timedelta(days=180)
BUILD_FAILED = "Failed during stage 'building site': Build script returned non-zero exit code: 2"


class Site:
    """The state of one site and the rules by which it changes."""

    def __init__(self, name: str, switches: Switches, created_at: datetime) -> None:
        self.name = name
        self.id = _made_up_id(f"site/{name}")
        self.switches = switches
        self.created_at = created_at
        self.deploys: dict[str, DeployRecord] = {}
        self.published: str | None = None
        self.locked = False
        self.stop_builds = False
        self.access = "full"
        self.env: dict[str, tuple[str, datetime]] = {}
        """Variable → value and when it was last updated."""
        self._coming: list[Happening] = []
        self._made = 0

    def advance(self, now: datetime) -> None:
        """Let everything happen that is due, in its order."""
        while due := [event for event in self._coming if event.at <= now]:
            event = min(due, key=lambda event: event.at)
            self._coming.remove(event)
            if event.deploy in self.deploys:
                self._happen(event)
        self._delete_expired(now)

    def expect(self, *events: Happening) -> None:
        """Let these happen when their time comes."""
        self._coming.extend(events)

    def new_deploy(self, commit: str, at: datetime, **facts: Any) -> DeployRecord:
        """A deploy that has just been enqueued."""
        self._made += 1
        defaults = {"title": "", "branch": "main", "context": "production", "state": "enqueued"}
        record = DeployRecord(
            id=_made_up_id(f"deploy/{self.name}/{self._made}"),
            commit=commit,
            created_at=at,
            updated_at=at,
            **(defaults | facts),
        )
        self.deploys[record.id] = record
        return record

    def build(self, record: DeployRecord, outcome: Outcome, seconds: float) -> None:
        """Plan what becomes of a deploy that starts to build at its `created_at`."""
        start, end = record.created_at, record.created_at + timedelta(seconds=seconds)
        record.broken = outcome in ("broken", "failed-late")
        steps = [(0.05, "building"), (0.8, "uploading"), (0.9, "processing")]
        self.expect(
            *(
                Happening(at=start + part * (end - start), what="state", deploy=record.id, state=to)
                for part, to in steps
            ),
            Happening(at=end, what="error" if outcome == "failed" else "ready", deploy=record.id),
        )
        if outcome == "failed-late" and self.published:
            back = end + timedelta(seconds=SERVES_BADLY_S)
            self.expect(Happening(at=back, what="publish", deploy=self.published))

    def publish(self, record: DeployRecord, at: datetime, *, by_hand: bool) -> None:
        """Make a deploy the one that users see."""
        if by_hand and record.id != self.published and self.switches.lock_follows == "deploy":
            self.locked = False
        self.published = record.id
        record.published_at = record.updated_at = at

    def request_publish(self, record: DeployRecord, at: datetime) -> bool:
        """Publish by hand at a later instant; the latest request wins. False if nothing changes."""
        waiting = any(event.what == "publish" for event in self._coming)
        if record.id == self.published and not waiting:
            return False
        self.expect(Happening(at=at, what="publish", deploy=record.id))
        return True

    def cancel(self, record: DeployRecord, at: datetime) -> bool:
        """End a build; False if there is nothing to end."""
        if record.state not in BUILDING:
            return False
        self._coming = [event for event in self._coming if event.deploy != record.id]
        record.state, record.error_message, record.updated_at = "error", "Canceled build", at
        return True

    def find(self, wanted: str) -> DeployRecord:
        """The newest deploy with that id or commit; LookupError if there is none."""
        for record in reversed(self.deploys.values()):
            if record.id == wanted or record.commit.startswith(wanted):
                return record
        raise LookupError(f"site {self.name} has no deploy {wanted!r}")

    def previous(self) -> DeployRecord | None:
        """The deploy that was published before the present one."""
        published = sorted(
            (record.published_at, record.id)
            for record in self.deploys.values()
            if record.published_at and record.id != self.published
        )
        return self.deploys[published[-1][1]] if published else None

    def reported_state(self, record: DeployRecord) -> str:
        """The state that the API shows: `ready` turns into `old` some time after."""
        if record.state != "ready" or record.id == self.published or not record.published_at:
            return record.state
        newer = sum(
            other.published_at is not None and other.created_at > record.created_at
            for other in self.deploys.values()
        )
        return "old" if newer > self.switches.old_after else "ready"

    def describe(self) -> dict[str, Any]:
        """All of it as JSON, without the values of variables."""
        return {
            "id": self.id,
            "published": self.published,
            "locked": self.locked,
            "stop_builds": self.stop_builds,
            "access": self.access,
            "env": sorted(self.env),
            "deploys": [
                {
                    "id": record.id,
                    "commit": record.commit,
                    "state": self.reported_state(record),
                    "context": record.context,
                    "branch": record.branch,
                    "broken": record.broken,
                    "created_at": instant(record.created_at),
                    "published_at": instant(record.published_at),
                }
                for record in self.deploys.values()
            ],
            "coming": [
                {"at": instant(event.at), "what": event.what, "deploy": event.deploy}
                for event in self._coming
            ],
        }

    def _happen(self, event: Happening) -> None:
        record = self.deploys[event.deploy]
        match event.what:
            case "state":
                record.state = event.state
            case "error":
                record.state, record.error_message = "error", BUILD_FAILED
            case "ready":
                record.state = "ready"
                if record.context == "production" and not self.locked:
                    self.publish(record, event.at, by_hand=False)
            case "publish":
                self.publish(record, event.at, by_hand=True)
        record.updated_at = event.at

    def _delete_expired(self, now: datetime) -> None:
        """Netlify keeps the published deploy and the latest good one of every branch."""
        latest: dict[str, DeployRecord] = {}
        for record in self.deploys.values():
            best = latest.get(record.branch, record)
            if record.state in FINISHED and record.created_at >= best.created_at:
                latest[record.branch] = record
        kept = {self.published} | {record.id for record in latest.values()}
        limit = timedelta(days=self.switches.keep_days)
        for record in list(self.deploys.values()):
            age = limit if record.state in FINISHED else FAILED_DEPLOYS_KEPT
            if record.id not in kept and now - record.created_at > age:
                del self.deploys[record.id]


def _made_up_id(what: str) -> str:
    """24 hex digits, as Netlify's ids have; the same in every sandbox."""
    return hashlib.sha256(what.encode()).hexdigest()[:24]
