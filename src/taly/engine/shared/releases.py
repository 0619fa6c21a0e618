"""Releases' names, records and marks that a whole team shares: one object, changed by all."""

import json
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from copy import deepcopy
from dataclasses import fields
from datetime import datetime
from pathlib import Path
from typing import Any

from taly.engine.shared.holding import unreadable
from taly.engine.shared.objects import Changed, Objects, unreachable
from taly.engine.store.port import Marked, RecordedRelease, Store
from taly.errors import OutcomeUnknown
from taly.model.release import Mark

FORMAT_VERSION = 1
FRESH_S = 1.0
"""A command asks many times in a moment: what was read is good for that long."""
ATTEMPTS = 20
"""Times that a change is made anew because somebody else's came first."""

Document = dict[str, Any]
"""`names`: content id → number; `members`, `records` and `marks` by content id too."""
Change = Callable[[Document], None]


class SharedReleases:
    """The object of one environment, with a copy on this machine for when it is out of reach."""

    def __init__(
        self,
        objects: Objects,
        environment: str,
        *,
        local: Store,
        copy: Path,
        notice: Callable[[str], None],
        tick: Callable[[], float] = time.monotonic,
    ) -> None:
        """`local` gives what it knows to a place that has nothing yet."""
        self._objects, self._environment, self._local = objects, environment, local
        self._key = f"{environment}/releases.json"
        self._copy, self._notice, self._tick = copy, notice, tick
        self._mutex = threading.Lock()
        self._read: Document | None = None
        self._read_at = 0.0

    # Reading

    def names(self) -> Mapping[str, str]:
        """Content id → name."""
        return {content_id: f"R{number}" for content_id, number in self._now()["names"].items()}

    def members(self) -> Mapping[str, Mapping[str, str]]:
        """Content id → the members that were given with the name."""
        members: Mapping[str, Mapping[str, str]] = self._now()["members"]
        return members

    def records(self) -> list[RecordedRelease]:
        """The pinned releases, oldest first."""
        found = [_record(id_, one) for id_, one in self._now()["records"].items()]
        return sorted(found, key=lambda one: (one.at, one.content_id))

    def marks(self) -> Mapping[str, Marked]:
        """Content id → what was said of it last."""
        return {id_: _mark(id_, one) for id_, one in self._now()["marks"].items()}

    # Changing

    def name(
        self, content_ids: Sequence[str], members: Mapping[str, Mapping[str, str]]
    ) -> Mapping[str, str]:
        """The releases' names; new ones get the next free number, whoever else names just now."""
        known = self.names()
        if all(content_id in known for content_id in content_ids):
            return {content_id: known[content_id] for content_id in content_ids}

        def change(document: Document) -> None:
            names: dict[str, int] = document["names"]
            number = max(names.values(), default=0) + 1
            for content_id in content_ids:
                if content_id not in names:
                    names[content_id] = number
                    number += 1
                    if content_id in members:
                        document["members"][content_id] = dict(members[content_id])

        self._change(change)
        known = self.names()
        return {content_id: known[content_id] for content_id in content_ids}

    def record(self, release: RecordedRelease) -> None:
        """Pin a release."""
        said = _said(release) | {"members": dict(release.members)}
        self._change(lambda document: document["records"].update({release.content_id: said}))

    def mark(self, marked: Marked) -> None:
        """Say something of a release."""
        said = _said(marked) | {"mark": str(marked.mark)}
        self._change(lambda document: document["marks"].update({marked.content_id: said}))

    # The object

    def _now(self) -> Document:
        with self._mutex:
            if self._read is None or self._tick() - self._read_at > FRESH_S:
                self._read, self._read_at = self._fetched(), self._tick()
            return self._read

    def _fetched(self) -> Document:
        """The object; this machine's last copy of it when it is out of reach, and says so."""
        try:
            stored = self._objects.get(self._key)
        except OutcomeUnknown:
            if not self._copy.exists():
                raise
            self._notice(
                f"{self._objects.place} is out of reach: releases are named and marked as they "
                "were when this machine saw them last"
            )
            return self._parsed(self._copy.read_bytes())
        if stored is None:
            return self._from_local()
        document = self._parsed(stored.body)
        self._keep_copy(stored.body)
        return document

    def _change(self, change: Change) -> None:
        """Make the change on the newest state. Doing it twice is harmless, so answers may be lost.

        A name that another machine gave meanwhile is seen before the change is made again.
        """
        with self._mutex:
            lost: OutcomeUnknown | None = None
            for _ in range(ATTEMPTS):
                stored = self._objects.get(self._key)
                known = self._parsed(stored.body) if stored else self._from_local()
                document = deepcopy(known)
                change(document)
                body = json.dumps(document, indent=1, sort_keys=True).encode()
                if stored is None or document != known:
                    try:
                        self._objects.put(self._key, body, over=stored.tag if stored else None)
                    except Changed:
                        continue
                    except OutcomeUnknown as error:
                        if lost is not None:
                            raise
                        lost = error
                        continue
                self._read, self._read_at = document, self._tick()
                self._keep_copy(body)
                return
            raise unreachable(f"others change {self._objects.place}/{self._key} all the time")

    def _parsed(self, body: bytes) -> Document:
        place = f"{self._objects.place}/{self._key}"
        try:
            document: Document = json.loads(body)
            version = document["format_version"]
            if version == FORMAT_VERSION:
                return {**_empty(), **document}
        except (ValueError, TypeError, KeyError) as error:
            raise unreadable(place, f"it is not taly's: {type(error).__name__}") from error
        raise unreadable(place, f"it was written by another taly (format {version})")

    def _from_local(self) -> Document:
        """What this machine knows: the first to come brings its names along."""
        environment, local, document = self._environment, self._local, _empty()
        names = local.release_names(environment)
        document["names"] = {id_: int(name.removeprefix("R")) for id_, name in names.items()}
        document["members"] = {
            id_: dict(one) for id_, one in local.release_members(environment).items()
        }
        for one in local.recorded_releases(environment):
            document["records"][one.content_id] = _said(one) | {"members": dict(one.members)}
        for id_, marked in local.marks(environment).items():
            document["marks"][id_] = _said(marked) | {"mark": str(marked.mark)}
        return document

    def _keep_copy(self, body: bytes) -> None:
        self._copy.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        part = self._copy.with_name(f"{self._copy.name}.{threading.get_ident()}.part")
        part.write_bytes(body)
        part.replace(self._copy)


def _empty() -> Document:
    return {
        "format_version": FORMAT_VERSION,
        "names": {},
        "members": {},
        "records": {},
        "marks": {},
    }


def _said(one: RecordedRelease | Marked) -> dict[str, Any]:
    """The fields besides the content id, under which they are filed."""
    return {
        field.name: getattr(one, field.name) for field in fields(one) if field.name != "content_id"
    } | {"at": one.at.isoformat()}


def _record(content_id: str, said: Mapping[str, Any]) -> RecordedRelease:
    return RecordedRelease(
        content_id=content_id,
        members=said["members"],
        commit=said["commit"],
        label=said["label"],
        at=datetime.fromisoformat(said["at"]),
        by=said["by"],
    )


def _mark(content_id: str, said: Mapping[str, Any]) -> Marked:
    return Marked(
        content_id=content_id,
        mark=Mark(said["mark"]),
        why=said["why"],
        by=said["by"],
        at=datetime.fromisoformat(said["at"]),
    )
