"""The three vendors' components, read from their emulators."""

import copy
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

from taly.model.plan import Step, StepKind
from taly.sandbox.netlify.records import BUILDING
from taly.simulate.real.part import RealPart, Seen
from taly.simulate.world import PERSON, PUSH, Operation, Values, Write


@dataclass(slots=True, eq=False)
class Site(RealPart):
    """Netlify's."""

    def truth(self) -> Values:
        """Published and locked."""
        self.emulator.now()
        site = self.emulator.sites[self.name]
        for record in site.deploys.values():
            self.commits.setdefault(record.id, record.commit)
        return {"deploy": site.published, "locked": site.locked}

    def counted(self, step: Step) -> Values:
        """Unlocking comes before a deploy is restored: then the lock alone counts."""
        unlocks = step.kind is StepKind.THAW or step.wanted.get("locked") is False
        if step.kind not in (StepKind.FREEZE, StepKind.THAW) or not unlocks:
            return step.wanted
        return {key: value for key, value in step.wanted.items() if key != "deploy"}

    def under_way(self) -> Iterator[Seen]:
        """Its builds: it has no operations."""
        for one in self.emulator.sites[self.name].deploys.values():
            busy = one.state in BUILDING
            yield Seen(id=one.id, start=one.created_at, over=not busy, pushed=True)

    def copied(self) -> Any:
        """The site."""
        return copy.deepcopy(self.emulator.sites[self.name])

    def swapped(self, kept: Any) -> Any:
        """Another site object."""
        present = self.emulator.sites[self.name]
        self.emulator.sites[self.name] = kept
        return present

    def deploy_by_hand(self, target: str) -> None:
        """Publish it; no operation is ever seen of that."""
        self.emulator.change(self.name, {"kind": "restore", "deploy": target})
        now = self.clock.timeline.now
        self.operations.append(Operation("by hand", now, now, {}, PERSON, over=True))

    def gone(self, target: str) -> None:
        """Deleted."""
        self.emulator.change(self.name, {"kind": "delete", "deploy": target})

    def others(self) -> list[str]:
        """Those that are ready."""
        site = self.emulator.sites[self.name]
        return [i for i, r in site.deploys.items() if r.state == "ready" and i != site.published]


@dataclass(slots=True, eq=False)
class Project(RealPart):
    """Vercel's."""

    @property
    def _data(self) -> Any:
        return self.emulator._projects[self.name].data

    def truth(self) -> Values:
        """What every name shows, and the setting."""
        data = self.emulator._caught_up(self.name).data
        for build in data.builds:
            self.commits.setdefault(build.id, build.commit)
        shown = dict.fromkeys(one.deployment for one in data.aliases if one.moves)
        return {"deployment": " and ".join(shown), "auto_assign": data.auto_assign}

    def under_way(self) -> Iterator[Seen]:
        """Jobs, and builds."""
        for i, job in enumerate(self._data.job_history):
            bad = job.status in ("failed", "skipped")
            yield Seen(id=f"job:{i}", start=job.requested_at, over=not job.running, fails=bad)
        for one in self._data.builds:
            busy = one.state == "BUILDING"
            yield Seen(id=one.id, start=one.created_at, over=not busy, pushed=True)

    def stacked(self, second: float, visible: float) -> list[Operation]:
        """Its jobs: a rollback beside a build is what it is for."""
        return [one for one in self.in_flight(second) if one.start < visible and one.by != PUSH]

    def cancelled(self, step: Step, second: float) -> bool:
        """The build, or the job, is over."""
        build = step.address.get("build", "")
        return all(one.id != build for one in self.in_flight(second))

    def copied(self) -> Any:
        """Its data."""
        return copy.deepcopy(self._data)

    def swapped(self, kept: Any) -> Any:
        """Other data; what is still to happen, happens to the true ones."""
        project = self.emulator._projects[self.name]
        present, project.data = project.data, kept
        return present

    def deploy_by_hand(self, target: str) -> None:
        """An instant rollback."""
        self.emulator.change(self.name, {"kind": "rollback", "deployment": target})

    def gone(self, target: str) -> None:
        """By retention."""
        build = self._data.build(target)
        if build is None or build.id in {one.deployment for one in self._data.aliases}:
            raise LookupError
        build.gone = True

    def others(self) -> list[str]:
        """Those that served."""
        return [one.id for one in self._data.builds if one.served and one.id != self._data.live]


@dataclass(slots=True, eq=False)
class Service(RealPart):
    """App Runner's."""

    moved: list[float] = field(default_factory=list)
    """When its tag came to mean another image."""

    @property
    def _service(self) -> Any:
        return self.emulator._by_component[self.name]

    @property
    def live(self) -> str:
        """The digest that serves."""
        return str(self.state["image"]).partition("@")[2]

    @property
    def serves(self) -> str:
        """What really serves: a deployment may end well and serve nobody."""
        self.sync()
        return str(self._service.serving)

    def truth(self) -> Values:
        """What is shown to serve, what it is set to, and whether pushes deploy."""
        self.emulator._fleet.advance(self.clock.now())
        one = self._service
        for digest, build in one.pulled.items():
            self.commits.setdefault(digest, build.commit[:12])
        uri = one.repository.uri
        done = [op.digest for op in one.operations if op.status == "SUCCEEDED" and op.digest]
        shown = done[-1] if done else one.serving
        return {
            "image": f"{uri}@{shown}",
            "identifier": one.identifier,
            "auto_deploy": one.auto_deploy,
        }

    def under_way(self) -> Iterator[Seen]:
        """Its operations."""
        for one in self._service.operations:
            yield Seen(
                id=one.id, start=one.started_at, over=not one.unfinished,
                fails=not one.unfinished and one.status != "SUCCEEDED",
                pushed=one.type == "START_DEPLOYMENT",
            )  # fmt: skip

    def fits(self, wanted: Values, state: Values) -> bool:
        """A tag that has moved since is named by its digest."""
        named, goal = str(state["identifier"]), str(wanted.get("identifier", ""))
        pinned = named == state["image"] and "@" not in goal
        return all(
            state.get(key) == value or (key == "identifier" and pinned)
            for key, value in wanted.items()
        )

    def pushed(self, commit: str) -> None:
        """The tag moves, whatever becomes of the push."""
        self.moved.append(self.clock.timeline.now)
        RealPart.pushed(self, commit)

    def undecided(self, write: Write | None) -> bool:
        """It deployed a tag that moved meanwhile: which image was pulled stands nowhere."""
        done = write.operation if write is not None else None
        if done is None or not done.over or done.fails:
            return False
        by_tag = "@" not in str(self.state_at(done.start + 0.01)["identifier"])
        return by_tag and any(done.start - 1 <= at <= done.ends + 1 for at in self.moved)

    def differing(self, wanted: Values) -> list[str]:
        """What is not as wanted."""
        return [key for key in wanted if not self.fits({key: wanted[key]}, self.state)]

    def copied(self) -> Any:
        """The service, without what stands beside it."""
        one = self._service
        return copy.deepcopy(one, {id(one.front): one.front, id(one.repository): one.repository})

    def fresh(self, kept: Any) -> Any:
        """Again without those."""
        memo = {id(kept.front): kept.front, id(kept.repository): kept.repository}
        return copy.deepcopy(kept, memo)

    def swapped(self, kept: Any) -> Any:
        """Another service object."""
        present = self._service
        self.emulator._by_component[self.name] = kept
        self.emulator._fleet.services[kept.arn] = kept
        return present

    def deploy_by_hand(self, target: str) -> None:
        """An update in the console."""
        identifier = f"{self._service.repository.uri}@{target}"
        self.emulator.change(self.name, {"kind": "update", "identifier": identifier})

    def gone(self, target: str) -> None:
        """Expired in ECR."""
        del self._service.repository.images[target]

    def others(self) -> list[str]:
        """Those that ECR still has."""
        return [one for one in self._service.repository.images if one != self._service.serving]

    @property
    def build(self) -> dict[str, Any]:
        """It only pulls."""
        return {}
