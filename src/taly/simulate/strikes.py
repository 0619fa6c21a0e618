"""Where the faults strike one simulated process: its vendors, its store, its applications."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress

from taly.errors import VendorError, VendorRefused, VendorUnavailable
from taly.model.plan import Step, StepKind
from taly.simulate.canaries import CANARY
from taly.simulate.faults import Fault, Faults
from taly.simulate.timeline import Process, Timeline
from taly.simulate.watch import Witness
from taly.simulate.world import Operation, Part, Write

Receipt = Mapping[str, str]
Send = Callable[[bool], Receipt]
"""Deliver the request; told whether it is the network's second copy of it."""
LATENCY_S = 0.2
"""From request to effect, and from effect to answer. A request that takes longer to its effect than
the provider's settle time, while its process dies, is a residual window too."""
NAP_SHARE = 0.6
"""The longest nap between intent and request, as a share of the lease: longer is the residual
window that only a client token closes (docs/explanation/reliability.md)."""


class Strikes:
    """The faults, as one process meets them."""

    def __init__(
        self, timeline: Timeline, process: Process, faults: Faults, witness: Witness, lease_s: float
    ) -> None:
        self.timeline, self.process, self.witness = timeline, process, witness
        self._faults, self._lease_s = faults, lease_s
        self.together = False
        """Whether the step that verifies everything at once is under way."""

    def _kind(self, step: Step) -> str:
        both = self.together and step.kind is StepKind.VERIFY
        return str(StepKind.VERIFY_ALL if both else step.kind)

    def _struck(self, fault: Fault, where: str) -> None:
        self.witness.platform.note(f"{self.process.name}: {fault.kind} at {where}")

    # Vendors

    def at_read(self, step: Step, part: Part) -> float:
        """How old this read is; raises what a vendor out of reach does."""
        self.alive()
        fault = self._faults.strike("read", self._kind(step))
        if fault is None:
            return part.lag()
        self._struck(fault, step.id)
        match fault.kind:
            case "killed-at-read":
                self.timeline.die()
            case "frozen-at-read":
                self.timeline.freeze(fault.seconds)
            case "old-state-read":
                return part.traits.lag_s
            case "read-403":
                raise VendorRefused(f"no: token={CANARY}", reference="sim-403")
            case "read-429" | "read-500" | "read-503":
                raise unavailable(int(fault.kind[-3:]))
            case _:
                raise unavailable(0)
        return part.lag()

    def looked(self, step: Step, operations: Sequence[Operation]) -> None:
        """Remember when this process last looked, and what it saw in flight."""
        self.witness.looked(self.process, step, operations)

    def sending(self, step: Step, key: str, part: Part) -> Write:
        """A request is about to be sent."""
        self.alive()
        self.witness.acts(self.process, step, key, part)
        self.witness.platform.note(f"{self.process.name} sends {key} {dict(step.wanted)}")
        return Write(part.name, key, self.process.name, self.timeline.now)

    def at_write(self, step: Step, *, at_once: bool) -> str:
        """What befalls this request; empty = nothing.

        `at_once`: it is sent now, not after minutes of work in which it may be struck as well.
        """
        fault = self._faults.strike("write", str(step.kind))
        if fault is None:
            return ""
        self._struck(fault, step.id)
        if at_once and fault.kind == "killed-before-write":
            self.timeline.die()
        elif at_once and fault.kind == "frozen-before-write":
            self.timeline.freeze(min(fault.seconds, self._lease_s * NAP_SHARE))
        return f"{fault.kind} {fault.seconds}" if fault.seconds else fault.kind

    def in_work(self, fault: str) -> None:
        """In the middle of a write that takes minutes."""
        kind, _, seconds = fault.partition(" ")
        if kind == "killed-before-write":
            self.timeline.die()
        elif kind == "frozen-before-write":
            self.timeline.freeze(float(seconds))

    def still_ours(self, step: Step, key: str) -> None:
        """The instant of a write that took minutes."""
        self.alive()
        self.witness.acts(self.process, step, key, None)

    def through(self, fault: str, send: Send, shown: Send) -> Receipt:
        """The request's way to the vendor and back: once sent, it goes on without the process."""
        kind, _, seconds = fault.partition(" ")
        if kind in ("request-lost", "write-429", "write-500", "write-503"):
            self.timeline.block(2 * LATENCY_S)
            raise unavailable(0 if kind == "request-lost" else int(kind[-3:]))
        if kind == "write-409":
            raise VendorRefused("the vendor says no", reference="sim-409", hint="taly status")
        receipt = self._sent(shown if kind == "shown-not-served" else send)
        self._after(kind, seconds, send)
        return receipt

    def _sent(self, send: Send) -> Receipt:
        """What the vendor answers once the request has come there, alive or dead as we are."""
        answers: list[Receipt | VendorError] = []

        def arrive() -> None:
            try:
                answers.append(send(False))
            except VendorError as error:
                answers.append(error)

        self.timeline.after(LATENCY_S, arrive)
        self.timeline.block(LATENCY_S)
        if not answers:  # too many calls block inside each other for it to arrive by itself
            self.timeline.run_until(self.timeline.now)
        (answer,) = answers
        if isinstance(answer, VendorError):
            raise answer
        return answer

    def _after(self, kind: str, seconds: str, send: Send) -> None:
        match kind:
            case "delivered-twice":
                self.timeline.block(LATENCY_S)
                with suppress(VendorError):  # nobody hears the answer to the second copy
                    send(True)
            case "killed-after-write":
                self.timeline.die()
            case "frozen-after-write":
                self.timeline.freeze(float(seconds))
            case "slow-reply":
                self.timeline.block(float(seconds))
            case "reply-lost" | "write-500-applied":
                raise unavailable(0 if kind == "reply-lost" else 500)
            case "provider-breaks":
                raise ValueError(f"cannot read postgresql://taly:{CANARY}@db/prod")
            case _:
                self.timeline.block(LATENCY_S)

    # The store

    @contextmanager
    def storing(self, step: str) -> Iterator[str]:
        """Around an append; gives the words with which the database is to fail, if it is."""
        self.alive()
        fault = self._faults.strike("append", step)
        if fault is not None:
            self._struck(fault, f"an event of {step or 'the run'}")
        kind = fault.kind if fault else ""
        if fault and kind == "frozen-before-event":
            self.timeline.freeze_in_store(fault.seconds)
        if kind == "killed-before-event":
            self.timeline.die()
        yield {"store-locked": "database is locked", "disk-full": "database or disk is full"}.get(
            kind, ""
        )
        if kind == "killed-after-event":
            self.timeline.die()
        if fault and kind == "frozen-after-event":
            self.timeline.freeze_in_store(fault.seconds)

    # Applications

    def at_ask(self) -> str:
        """What befalls a question to an application; empty = nothing."""
        self.alive()
        fault = self._faults.strike(
            "ask", str(StepKind.VERIFY_ALL if self.together else StepKind.VERIFY)
        )
        return fault.kind if fault else ""

    def alive(self) -> None:
        """The dead do nothing."""
        if not self.process.alive:
            self.timeline.die()


def unavailable(status: int) -> VendorUnavailable:
    """A passing failure, in words that hold what must never be written down."""
    said = f"answered {status}" if status else "no answer"
    return VendorUnavailable(
        f"{said}: token={CANARY} at https://user:{CANARY}@api.example/", reference=f"sim-{status}"
    )
