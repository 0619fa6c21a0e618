"""What lies in the bucket is read by every command of every machine: it is data, and bounded."""

import json
from io import BytesIO
from types import SimpleNamespace
from typing import Any

import pytest
from botocore.response import StreamingBody
from shared_stage import holding

from taly.engine.shared import s3
from taly.engine.shared.audit import Audit
from taly.engine.shared.holding import from_json, to_json
from taly.engine.shared.s3 import S3Objects
from taly.errors import OutcomeUnknown, UsageError

DEEP = b"[" * 100_000


def lock(**changed: Any) -> bytes:
    return json.dumps({**json.loads(to_json(holding())), **changed}).encode()


@pytest.mark.parametrize(
    "body",
    [
        DEEP,
        b"\xff",
        lock(lease_s="20"),
        lock(lease_s=-1),
        lock(lease_s=True),
        lock(pid="7"),
        lock(host=None),
        lock(since="yesterday"),
        lock(state="mine"),
        lock(fence=1.5),
    ],
    ids=lambda body: body[-20:].decode("latin-1"),
)
def test_a_lock_that_is_none_is_refused_by_its_name(body: bytes) -> None:
    with pytest.raises(UsageError) as refusal:
        from_json(body, "s3://team/lock.json")
    assert refusal.value.reference == "shared-unreadable"


def test_a_lock_is_read_as_it_was_written() -> None:
    assert from_json(to_json(holding()), "x") == holding()


@pytest.mark.parametrize(
    "text", [DEEP, b"", b"[]", b"7", b'{"format_version": 1}', b'{"format_version": 1, "id": 7}']
)
def test_a_run_that_is_none_is_refused_by_its_name(text: bytes) -> None:
    with pytest.raises(UsageError) as refusal:
        _ = Audit(text=text, place="s3://team/run").summary
    assert refusal.value.reference == "shared-unreadable"


def test_an_object_without_end_is_not_read_to_its_end(monkeypatch: pytest.MonkeyPatch) -> None:
    class Endless:
        read_to = 0
        closed = False

        def close(self) -> None:
            self.closed = True

        def read(self, amount: int | None = None) -> bytes:
            assert amount is not None
            self.read_to += amount
            return b"x" * amount

    class Client:
        body = Endless()

        def get_object(self, **_: str) -> dict[str, Any]:
            return {"Body": self.body, "ETag": "1"}

    monkeypatch.setattr(s3, "MAX_BYTES", 1000)
    monkeypatch.setattr(s3, "CHUNK", 1000)
    place = S3Objects({"AWS_REGION": "eu-central-1"}, "s3://team/taly")
    client = Client()
    monkeypatch.setattr(place, "_client", lambda **_: client)
    with pytest.raises(UsageError) as refusal:
        place.get("x")
    assert "far too long" in refusal.value.message
    assert client.body.closed
    assert client.body.read_to == 2000


def test_an_answer_that_was_cut_off_is_no_object(monkeypatch: pytest.MonkeyPatch) -> None:
    def answered(**_: str) -> dict[str, Any]:
        return {"Body": StreamingBody(BytesIO(b"half of it"), 20), "ETag": "1"}

    place = S3Objects({"AWS_REGION": "eu-central-1"}, "s3://team/taly")
    monkeypatch.setattr(place, "_client", lambda **_: SimpleNamespace(get_object=answered))
    with pytest.raises(OutcomeUnknown):
        place.get("x")
