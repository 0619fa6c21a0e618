"""What a run calls the databases that it makes, and what it writes on the one it puts aside."""

import hashlib
import json
from dataclasses import asdict, dataclass, field
from datetime import datetime

from taly.hostile import json_value

MAX_NAME = 63
"""PostgreSQL cuts a name at 63 bytes; two that were cut alike would be one."""
MAX_WORK = 48
"""It stands in names together with other words."""


def side_name(database: str, run: str) -> str:
    """The database that is made ready beside the live one."""
    return _joined(database, f"_taly_side_{run}")


def aside_name(database: str, run: str) -> str:
    """What the live database is called when the other one has taken its place."""
    return _joined(database, f"_taly_before_{run}")


def work_name(run: str, component: str) -> str:
    """One piece of work: a run may restore several databases of a server at the same time.

    By it the sessions are known on the server, whatever process opened them.
    """
    return _cut(f"{run} {component}", MAX_WORK)


def _joined(database: str, tail: str) -> str:
    whole = database + tail
    if len(whole.encode()) <= MAX_NAME:
        return whole
    end = f"~{_mark(whole)}{tail}"
    return _first(database, MAX_NAME - len(end.encode())) + end


def _cut(text: str, size: int) -> str:
    return text if len(text.encode()) <= size else f"{_first(text, size - 9)}~{_mark(text)}"


def _mark(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()[:8]


def _first(text: str, size: int) -> str:
    return text.encode()[: max(0, size)].decode(errors="ignore")


@dataclass(frozen=True, slots=True, kw_only=True)
class Label:
    """The COMMENT of a database that was put aside: by it `forget` and an undo find it."""

    run: str
    component: str
    environment: str
    of: str
    """The name that it had, and that the one in its place has now."""
    since: datetime
    checkpoint: str
    """What the database in its place was made from."""
    oid: int
    """Of the database in its place."""
    system_identifier: str
    xid: int
    """What is written in that database from the swap on has a transaction id of at least this."""
    snapshot: str
    comment: str | None = None
    """The comment that it had before."""
    read_only: str | None = None
    """What `default_transaction_read_only` was set to before."""
    receipt: dict[str, str] = field(default_factory=dict)


def written(label: Label) -> str:
    """The comment's text."""
    body = asdict(label) | {"since": label.since.isoformat()}
    return json.dumps({"taly": body}, ensure_ascii=False)


def read_label(comment: str | None) -> Label | None:
    """The label that a comment is; None when it is somebody's comment."""
    try:
        body = json_value(comment or "")["taly"]
        return Label(**{**body, "since": datetime.fromisoformat(body["since"])})
    except (ValueError, KeyError, TypeError):
        return None
