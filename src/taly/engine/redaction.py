"""What is or looks like a secret is taken out of others' words before they are written down."""

import re
from dataclasses import replace

from taly.hostile import visible
from taly.model.events import Event, StepDone, StepFailed, StepProgressed, StepUnknown
from taly.model.release import Evidence
from taly.redaction import redact

_SECRETS = re.compile(
    r"(?i)(://)[^\s/@]+@|((?:password|passwd|secret|token|api[_-]?key|authorization)"
    r"[\"']?\s*[=:]\s*[\"']?)(?:bearer\s+)?[^\s\"',;}]+"
)


def without_secrets(text: str) -> str:
    """The text without known secrets, passwords in addresses, and values of what sounds secret.

    And without what a terminal obeys: who reads the events with another program has a terminal too.
    """
    marked = _SECRETS.sub(r"\1\2[redacted]@", redact(visible(text)))
    # The mark ends with the address's own @, or with one too many.
    return re.sub(r"(?<!://)\[redacted\]@", "[redacted]", marked)


def cleaned(event: Event) -> Event:
    """The event as it may be stored: vendors and drivers repeat what they were given."""
    match event:
        case StepProgressed():
            return replace(event, note=without_secrets(event.note))
        case StepFailed():
            return replace(
                event,
                reason=without_secrets(event.reason),
                hint=without_secrets(event.hint),
                evidence=_says(event.evidence),
            )
        case StepUnknown():
            return replace(event, reason=without_secrets(event.reason))
        case StepDone():
            return replace(event, evidence=_says(event.evidence))
        case _:
            return event


def _says(evidence: tuple[Evidence, ...]) -> tuple[Evidence, ...]:
    return tuple(replace(one, says=without_secrets(one.says)) for one in evidence)
