"""From facts to deployments: one per image, with the times at which it served. Pure."""

from collections.abc import Mapping, Sequence

from taly.model.release import (
    Barred,
    Confidence,
    Deployment,
    Evidence,
    Gone,
    LivePeriod,
    Restorability,
    Restorable,
)
from taly.providers.apprunner import configuration
from taly.providers.apprunner.facts import Look, Records
from taly.providers.apprunner.history import Served, served
from taly.providers.apprunner.identifiers import by_digest, commit_of, short_digest
from taly.providers.apprunner.lifecycle import expires_at

BLOCKED: Mapping[str, str] = {
    "PAUSED": "the service is paused; resume it first",
    "CREATE_FAILED": "the service was never created successfully",
    "DELETED": "the service was deleted",
    "DELETE_FAILED": "the service could not be deleted and is neither here nor gone",
}


def blocked_by(look: Look) -> str:
    """Why nothing can be changed now; empty when it can, or soon can."""
    if not look.identifier_text:
        return "the service is built from source code, which has no image to go back to"
    if look.source["ImageRepository"].get("ImageRepositoryType") == "ECR_PUBLIC":
        return "the service runs a public image, which taly does not follow"
    if look.status in ("RUNNING", "OPERATION_IN_PROGRESS"):
        return ""
    return BLOCKED.get(look.status, f"the service is {look.status}, which taly does not know")


class Histories:
    """The deployments of one component."""

    def __init__(self, component: str, look: Look, records: Records) -> None:
        self._component = component
        self._look = look
        self._records = records
        self._served = self._known(served(look, records))

    @property
    def newest(self) -> Served:
        """What serves now."""
        return self._served[-1]

    @property
    def digests(self) -> tuple[str, ...]:
        """Every digest that ever served."""
        return tuple(dict.fromkeys(one.digest for one in self._served))

    def deployments(
        self, gone: Mapping[str, str], policy: str
    ) -> tuple[Deployment, tuple[Deployment, ...]]:
        """(live, all of them, newest first). `gone`: digest → why ECR has it no more."""
        made = [self._deployment(digest, gone, policy) for digest in self.digests]
        others = [digest for digest in self._records.images if digest not in self.digests]
        made += [self._deployment(digest, gone, policy) for digest in others]
        made.sort(key=_last_live, reverse=True)
        live = next(one for one in made if one.id == self.newest.digest)
        return live, tuple(made)

    def durations_s(self) -> tuple[float, ...]:
        """Seconds of earlier updates that succeeded, newest first."""
        return tuple(
            (one.ended_at - one.started_at).total_seconds()
            for one in self._look.operations
            if one.deployed and one.ended_at and one.type != "CREATE_SERVICE"
        )

    def _known(self, found: Sequence[Served]) -> tuple[Served, ...]:
        """What served, with an image for each; at least one."""
        known = tuple(one for one in found if one.digest)
        if known and known[-1] is found[-1]:
            return known
        identifier = self._look.identifier
        tagged = (one.digest for one in self._records.images.values() if identifier.tag in one.tags)
        digest = identifier.digest or next(tagged, "") or str(identifier)
        start = found[-1].start if found else self._look.service["CreatedAt"]
        guess = Served(
            start=start,
            repository=identifier.repository,
            digest=digest,
            confidence=Confidence.AMBIGUOUS,
            says=f"no operation says what serves; the identifier is {identifier}",
        )
        return (*known, guess)

    def _deployment(self, digest: str, gone: Mapping[str, str], policy: str) -> Deployment:
        image = self._records.images.get(digest)
        pushed = [one for one in self._records.pushes if one.digest == digest]
        tags = [*(image.tags if image else ()), *(one.tag for one in pushed)]
        commit = commit_of(tags)
        own = [one for one in self._served if one.digest == digest]
        uncertain = [digest for one in own[-1:] for digest in one.candidates]
        is_live = digest == self.newest.digest
        return Deployment(
            component=self._component,
            id=digest,
            label=commit[:7] or next((tag for tag in tags if tag), "") or short_digest(digest),
            commit=commit,
            created_at=image.pushed_at if image else min((one.at for one in pushed), default=None),
            live=self._periods(digest),
            restorable=self._restorable(own, digest, gone, policy),
            config=self._config() if is_live and self._look.at_rest else {},
            details={"image": by_digest(self._look.identifier.repository, digest)},
            candidates=tuple(uncertain),
            evidence=self._evidence(own, digest, image is not None),
        )

    def _periods(self, digest: str) -> tuple[LivePeriod, ...]:
        """When it served; updates that left the image alone do not end a period."""
        periods: list[LivePeriod] = []
        ends = [*(one.start for one in self._served[1:]), None]
        for one, end in zip(self._served, ends, strict=True):
            if one.digest != digest:
                continue
            if periods and periods[-1].end == one.start:
                periods[-1] = LivePeriod(start=periods[-1].start, end=end)
            else:
                periods.append(LivePeriod(start=one.start, end=end))
        return tuple(periods)

    def _restorable(
        self, own: list[Served], digest: str, gone: Mapping[str, str], policy: str
    ) -> Restorability:
        if not digest.startswith("sha256:"):
            return Gone(reason="nothing says which image it was")
        repository = own[-1].repository if own else ""
        if repository and repository != self._look.identifier.repository:
            reason = f"it came from another repository, {repository}"
            return Barred(reason=reason, reference="other-repository")
        if digest in gone:
            return Gone(reason=f"image {short_digest(digest)} is no longer in ECR ({gone[digest]})")
        image = self._records.images.get(digest)
        return Restorable(until=expires_at(policy, image) if image else None)

    def _config(self) -> Mapping[str, str]:
        return configuration.fingerprints(self._look.source)

    def _evidence(self, own: list[Served], digest: str, in_ecr: bool) -> tuple[Evidence, ...]:
        at = self._look.at
        operations = [
            Evidence(
                call="apprunner:ListOperations", at=at, says=one.says, confidence=one.confidence
            )
            for one in own[-1:]
        ]
        says = f"{short_digest(digest)} is there" if in_ecr else "not among the images"
        return (*operations, Evidence(call="ecr:DescribeImages", at=at, says=says))


def _last_live(deployment: Deployment) -> tuple[bool, float]:
    """Those that served come first, by the time they last went live; then the others by age."""
    instant = deployment.live[-1].start if deployment.live else deployment.created_at
    return bool(deployment.live), instant.timestamp() if instant else 0.0
