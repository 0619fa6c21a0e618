"""A run as text for other machines: its plan and its events, a line of JSON each."""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from taly.engine.codec import event_from_json, plan_from_json
from taly.engine.shared.holding import unreadable
from taly.engine.store.port import RunSummary
from taly.engine.store.rows import owner_of
from taly.errors import UsageError
from taly.hostile import json_value
from taly.model.events import Recorded
from taly.model.plan import Plan

FORMAT_VERSION = 1
OWN = ("plan", "body")
"""Columns whose text is JSON itself: shown as such, so that other tools can read them."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Audit:
    """A run of another machine, as it was shared."""

    text: bytes
    place: str

    @property
    def summary(self) -> RunSummary:
        """The run in short; nobody here knows whether its process lives."""
        try:
            return self._summary(self._lines(1)[0])
        except (ValueError, TypeError, LookupError, AttributeError) as error:
            raise self._none(error) from error

    def _summary(self, head: Mapping[str, Any]) -> RunSummary:
        finished = head["finished_at"]
        return RunSummary(
            id=head["id"],
            environment=head["environment"],
            purpose=head["purpose"],
            digest=head["digest"],
            by=head["by_whom"],
            created_at=datetime.fromisoformat(head["created_at"]),
            outcome=head["outcome"],
            finished_at=datetime.fromisoformat(finished) if finished else None,
            owner=owner_of(head),
            lease_left_s=0.0,
            cancel_by=head["cancel_by"],
        )

    @property
    def trail(self) -> str:
        """The audit trail that it stands in; empty for one that was told without."""
        return str(self._lines(1)[0].get("trail", ""))

    @property
    def plan(self) -> Plan:
        """The run's plan."""
        return plan_from_json(json.dumps(self._lines(1)[0]["plan"]))

    def events(self, after: int = 0) -> list[Recorded]:
        """Its events numbered above `after`, in order."""
        return [
            Recorded(
                seq=one["seq"],
                at=datetime.fromisoformat(one["at"]),
                fence=one["fence"],
                event=event_from_json(json.dumps(one["body"])),
            )
            for one in self._lines()[1:]
            if one["seq"] > after
        ]

    def _lines(self, limit: int | None = None) -> list[dict[str, Any]]:
        try:
            lines = self.text.splitlines()[:limit]
            found: list[dict[str, Any]] = [json_value(line) for line in lines]
            version = found[0]["format_version"]
        except (ValueError, TypeError, LookupError) as error:
            raise self._none(error) from error
        if version != FORMAT_VERSION:
            raise unreadable(self.place, f"it was written by another taly (format {version})")
        return found

    def _none(self, error: Exception) -> UsageError:
        return unreadable(self.place, f"it is no run of taly's: {type(error).__name__}")


def to_text(run: Mapping[str, Any], events: Sequence[Mapping[str, Any]], trail: str = "") -> bytes:
    """The rows of a run as the store holds them, all of their columns; `trail` once it is told."""
    rows = [{"format_version": FORMAT_VERSION, "trail": trail, **run}, *events]
    return b"".join(_line(row) for row in rows)


def _line(row: Mapping[str, Any]) -> bytes:
    shown = {
        name: json.loads(value) if name in OWN and isinstance(value, str) else value
        for name, value in row.items()
    }
    return json.dumps(shown, ensure_ascii=False, separators=(",", ":")).encode() + b"\n"
