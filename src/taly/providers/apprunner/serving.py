"""Which image serves now, as far as anybody can know it. Pure.

A tag becomes a digest when App Runner pulls it, at some instant of the operation, and no record of
AWS holds which it took. Where the tag moved meanwhile that stays open for ever: only another
deployment, by digest, ends it. Where a record is missing (CloudTrail lags by minutes, or may not be
read just now) it may still come.
"""

from dataclasses import dataclass

from taly.model.release import Confidence
from taly.providers.apprunner.facts import Look, Records
from taly.providers.apprunner.history import Served
from taly.providers.apprunner.identifiers import short_digest


@dataclass(frozen=True, slots=True, kw_only=True)
class Serving:
    """The image that serves."""

    digest: str
    """Empty when it is not certain."""
    candidates: tuple[str, ...] = ()
    """When it is not certain: those that it can be; empty = nothing is on record."""
    for_good: bool = False
    """Whether all there is to know is known."""
    why: str = ""
    """Why it is not certain."""

    @classmethod
    def of(cls, newest: Served, look: Look, records: Records) -> "Serving":
        """From the last deployment that went live."""
        if newest.confidence is not Confidence.AMBIGUOUS:
            return cls(digest=newest.digest)
        if not newest.candidates:
            missing = "; ".join(records.notes) or newest.says
            return cls(digest="", why=f"it is not known which image serves: {missing}")
        names = " or ".join(short_digest(one) for one in newest.candidates)
        return cls(
            digest="",
            candidates=newest.candidates,
            for_good=not records.notes,
            why=f"it is not known which image serves: {names}. Tag {look.identifier.tag} moved "
            "while App Runner deployed it, and AWS keeps no record of which it took; ask the "
            "application which version it is",
        )

    def may_be(self, digest: str) -> bool:
        """Whether it can be that one, without it being certain."""
        return not self.digest and (not self.candidates or digest in self.candidates)
