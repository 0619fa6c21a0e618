"""Nothing that looks like a secret is written down, whoever said it."""

from datetime import UTC, datetime
from pathlib import Path

import pytest
from tests.engine_world import FakeVendor, RealTime, plan, step

from taly.engine.redaction import cleaned, without_secrets
from taly.engine.runner import Engine
from taly.engine.store import open_store
from taly.errors import VendorUnavailable
from taly.model.events import StepDone, StepFailed
from taly.model.plan import Step
from taly.model.ports import Attempt, Probe
from taly.model.release import Evidence


@pytest.mark.parametrize(
    ("said", "written"),
    [
        ("token=abc", "token=[redacted]"),
        ('{"password": "abc", "port": 1}', '{"password": "[redacted]", "port": 1}'),
        ("Authorization: Bearer abc", "Authorization: [redacted]"),
        ("postgresql://ana:abc@db/prod is down", "postgresql://[redacted]@db/prod is down"),
        ("no answer (ReadTimeout)", "no answer (ReadTimeout)"),
    ],
)
def test_what_looks_secret_is_left_out(said: str, written: str) -> None:
    assert without_secrets(said) == written


def test_evidence_and_reasons_are_cleaned_too() -> None:
    evidence = (Evidence(call="x:Read", at=datetime.now(UTC), says="secret=abc"),)
    for event in (
        StepFailed(step="a", reason="token=abc", reference="x", evidence=evidence),
        StepDone(step="a", how="acted", evidence=evidence),
    ):
        assert "abc" not in repr(cleaned(event))


def test_a_vendors_words_reach_the_store_without_the_secret_in_them(tmp_path: Path) -> None:
    class Chatty(FakeVendor):
        def probe(self, step: Step, attempt: Attempt | None) -> Probe:
            if not self.read_faults:
                self.read_faults = [True]
                raise VendorUnavailable("refused token=hunter2", reference="fake-503")
            if self.read_faults == [True]:
                self.read_faults = [False]
                raise ValueError("cannot read postgresql://taly:hunter2@db/prod")
            return super().probe(step, attempt)

    store = open_store(tmp_path / "taly.db")
    vendor = Chatty(clock=RealTime())
    one = Engine(store=store, providers={"fake": vendor}, clock=vendor.clock)
    one.execute(one.start(plan(step("a"))))
    store.close()
    written = b"".join(path.read_bytes() for path in tmp_path.iterdir())
    assert b"cannot read postgresql" in written
    assert b"hunter2" not in written
