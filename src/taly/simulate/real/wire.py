"""The wire between one simulated process and the emulated vendors, and what befalls it there."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from typing import Any, Literal
from urllib.parse import parse_qs, urlsplit

import httpx2
from werkzeug.test import EnvironBuilder, run_wsgi_app
from werkzeug.wrappers import Request, Response

from taly.model.plan import Step, StepKind
from taly.sandbox import world as sandbox
from taly.simulate.faults import Fault
from taly.simulate.real.estate import Estate
from taly.simulate.real.part import RealPart
from taly.simulate.real.replies import failure
from taly.simulate.strikes import LATENCY_S, Strikes
from taly.simulate.world import PERSON, Operation, Write

READ_S = 0.05
"""A read's way there: what happens meanwhile, happens between the reads of one look."""
LATER_S = 40.0
"""How long after a restore somebody publishes over it, where that is what goes wrong."""
VENDORS_OWN = {
    ("apprunner", "yes-and-nothing"): "false-success",
    ("apprunner", "shown-not-served"): "false-success",
    ("apprunner", "operation-fails"): "health-fail",
    ("netlify", "yes-and-nothing"): "restore-ignored",
    ("netlify", "operation-fails"): "restore-lost-later",
    ("vercel", "yes-and-nothing"): "job-false-success",
    ("vercel", "shown-not-served"): "alias-partial",
    ("vercel", "operation-fails"): "alias-job-failed",
    ("serverless", "yes-and-nothing"): "false-success",
    ("serverless", "shown-not-served"): "half-success",
    ("serverless", "operation-fails"): "update-fails",
}
"""Fault → the emulator's switch for it, at the write that moves users."""
Does = Literal["reads", "prepares", "writes"]
DOES: dict[str, Does] = {
    "UpdateService": "writes",
    "ExecuteChangeSet": "writes",
    "ContinueUpdateRollback": "writes",
    "CreateChangeSet": "prepares",
    "DeleteChangeSet": "prepares",
}
"""AWS's operations; the others only read."""
AWS_HOST = "aws.localhost"


class Lost(Exception):
    """No answer comes back."""

    def __init__(self, *, sent: bool) -> None:
        super().__init__("no answer")
        self.sent = sent


class WireStrikes(Strikes):
    """The faults of one process, at each of its requests."""

    estate: Estate

    def __init__(self, *given: Any) -> None:
        super().__init__(*given)
        self._step: Step | None = None
        self._key = ""
        self._copy = False

    @contextmanager
    def about(self, step: Step, key: str) -> Iterator[None]:
        """The requests within are this step's; what blocks inside one comes back before it ends."""
        before = self._step, self._key
        self._step, self._key = step, key
        try:
            yield
        finally:
            self._step, self._key = before

    def request(self, vendor: str, request: Request, *, does: Does) -> Response:
        """One request and its answer; raises Lost."""
        self.alive()
        if self._step is None:
            return self._deliver(vendor, request)
        part = self.estate.parts[self._step.component]
        if does == "writes":
            return self._write(vendor, request, self._step, self._key, part)
        return self._read(vendor, request, self._step, part, prepares=does == "prepares")

    def _deliver(self, vendor: str, request: Request) -> Response:
        request.environ["wsgi.input"].seek(0)  # it may be the second time
        body, status, headers = run_wsgi_app(self.estate.apps[vendor], request.environ.copy(), True)
        return Response(b"".join(body), status=status, headers=headers)

    def _read(
        self, vendor: str, request: Request, step: Step, part: RealPart, *, prepares: bool
    ) -> Response:
        """What changes no component: a read, or a request that only gets a write ready."""
        fault = self._faults.strike("read", self._kind(step))
        kind = fault.kind if fault else ""
        if fault:
            self._struck(fault, step.id)
        if kind == "killed-at-read":
            self.timeline.die()
        elif fault and kind == "frozen-at-read":
            self.timeline.freeze(fault.seconds)
        self.timeline.block(READ_S)
        if prepares and kind[:5] == "read-" and kind != "read-403" and part.lags.random() < 0.5:
            with part.changed_by(self._key):
                self._deliver(vendor, request)  # what is not heard is the answer
        if kind == "read-lost":
            raise Lost(sent=prepares)
        if kind[:5] == "read-":
            return failure(vendor, int(kind[5:]), self.estate.clock.now(), request)
        if prepares:
            with part.changed_by(self._key):
                return self._deliver(vendor, request)
        lag = part.traits.lag_s if kind == "old-state-read" else part.lag()
        if step.kind is StepKind.CANCEL and not (self.estate.by_id_lags and vendor == "netlify"):
            lag = 0.0  # asked for by its id
        with part.as_it_was(lag):
            return self._deliver(vendor, request)

    def _write(
        self, vendor: str, request: Request, step: Step, key: str, part: RealPart
    ) -> Response:
        write = self.sending(step, key, part)
        said = self.at_write(step, at_once=True)
        kind, _, seconds = said.partition(" ")
        if kind == "push-before-write":
            self.estate.push(part, len(part.commits))
        self.timeline.block(LATENCY_S)
        if kind == "request-lost":
            raise Lost(sent=False)
        if kind in ("write-429", "write-500", "write-503", "write-409"):
            return failure(vendor, int(kind[6:]), self.estate.clock.now(), request)

        def send() -> Response:
            return self._applied(vendor, request, step, part, write, kind)

        answer = self._arrive(send)
        if kind == "overtaken":
            self.estate.overtake(part, Operation("", 0.0, 0.0, {}, ""))
        return self._back(
            kind, seconds, send, answer,
            failure(vendor, 500, self.estate.clock.now(), request),
        )  # fmt: skip

    def _back(
        self, kind: str, seconds: str, send: Callable[[], Response], answer: Response,
        broken: Response,
    ) -> Response:  # fmt: skip
        """What comes back to the process that asked."""
        if kind == "delivered-twice":
            self.timeline.block(LATENCY_S)
            self._copy = True
            send()
            self._copy = False
        elif kind == "reply-lost":
            raise Lost(sent=True)
        elif kind == "write-500-applied":
            return broken
        elif kind in ("killed-after-write", "frozen-after-write", "slow-reply"):
            self._after(kind, seconds, lambda _: {})
        self.timeline.block(LATENCY_S)
        return answer

    def _arrive(self, send: Callable[[], Response]) -> Response:
        """It arrives, alive or dead as we are by then."""
        answers: list[Response] = []
        self.timeline.after(0.0, lambda: answers.append(send()))
        self.timeline.block(0.0)
        if not answers:
            self.timeline.run_until(self.timeline.now)
        return answers[0]

    def _applied(
        self, vendor: str, request: Request, step: Step, part: RealPart, write: Write, kind: str
    ) -> Response:
        own = part.varied(VENDORS_OWN.get((vendor, kind), ""))
        moves = step.kind not in (StepKind.FREEZE, StepKind.THAW, StepKind.CANCEL)
        faults = self.estate.world.faults
        if own and moves:
            faults.add(sandbox.Fault(kind=own, vendor=vendor, component=part.name, seconds=LATER_S))
        before = {one.id for one in part.operations}
        journal = self.estate.world.journal
        written = len(journal.calls())
        goal = next((str(value) for key, value in step.wanted.items()), "")
        part.asked.add(goal)
        now = self.timeline.now
        write = replace(write, copy=self._copy)
        with part.changed_by(write.key):
            answer = self._deliver(vendor, request)
        faults.clear()
        write.at, write.changed = now, any(one.wrote for one in journal.calls(written))
        write.operation = next((o for o in part.operations if o.id not in before), None)
        if vendor == "netlify" and moves and write.changed:
            write.operation = Operation("", now, now + part.takes, {}, write.key)
        if own == "restore-lost-later" and write.changed:  # somebody publishes over it, later
            ends = now + part.takes + LATER_S
            part.operations.append(Operation("later", now, ends, {}, PERSON))
            self.timeline.after(ends - now, lambda: part.foreign.append(ends))
        if write.changed:
            self.estate.writes.append(write)
        return answer

    def _struck(self, fault: Fault, where: str) -> None:
        super()._struck(fault, where)
        if self._step is not None and fault.point in ("read", "write"):
            vendor, kind = self._step.provider, str(self._step.kind)
            self._faults.coverage.by_vendor[vendor, fault.kind, kind] += 1


class Door(httpx2.BaseTransport):
    """In the place of the network, for clients of HTTP."""

    def __init__(self, current: Callable[[], WireStrikes]) -> None:
        """`current`: the wire of the process that runs right now."""
        self._current = current

    def handle_request(self, request: httpx2.Request) -> httpx2.Response:
        """Ask the emulated vendor."""
        vendor = "vercel" if request.url.host == "vercel.localhost" else "netlify"
        made = EnvironBuilder(
            method=request.method, path=request.url.path,
            query_string=request.url.query.decode(), headers=list(request.headers.items()),
            data=request.read(),
        ).get_request()  # fmt: skip
        try:
            answer = self._current().request(
                vendor, made, does="reads" if request.method == "GET" else "writes"
            )
        except Lost as lost:
            error = httpx2.ReadTimeout if lost.sent else httpx2.ConnectError
            raise error("no answer") from lost
        return httpx2.Response(
            answer.status_code, headers=list(answer.headers.items()), content=answer.get_data()
        )


def aws_door(current: Callable[[], WireStrikes], vendor: str) -> Callable[..., Any]:
    """The same for botocore's clients of that vendor: a handler of its event `before-send`."""
    from botocore.awsrequest import AWSResponse
    from botocore.exceptions import ConnectionClosedError, EndpointConnectionError

    def answer(request: Any, **_: Any) -> Any:
        made, operation = aws_request(request)
        try:
            got = current().request(vendor, made, does=DOES.get(operation, "reads"))
        except Lost as lost:
            error = ConnectionClosedError if lost.sent else EndpointConnectionError
            raise error(endpoint_url=request.url) from lost
        return AWSResponse(request.url, got.status_code, dict(got.headers), _Raw(got.get_data()))

    return answer


def aws_request(request: Any) -> tuple[Request, str]:
    """A request of botocore's as WSGI has it, and its operation where that is in its words."""
    url, body = urlsplit(request.url), request.body or b""
    body = body.encode() if isinstance(body, str) else body
    headers = [(k, v.decode() if isinstance(v, bytes) else v) for k, v in request.headers.items()]
    bucket = str(url.hostname).removesuffix(AWS_HOST).rstrip(".")
    made = EnvironBuilder(
        method=request.method, path=f"/{bucket}{url.path}" if bucket else url.path,
        query_string=url.query, headers=headers, data=body,
    ).get_request()  # fmt: skip
    form = parse_qs(body.decode("utf-8", "replace"))
    target = made.headers.get("X-Amz-Target", "").rpartition(".")[2]
    return made, target or form.get("Action", [""])[0]


class _Raw:
    """The body, as urllib3 would hand it over."""

    def __init__(self, body: bytes) -> None:
        self._body = body

    def stream(self, **_: Any) -> Iterator[bytes]:
        """All of it."""
        yield self._body

    def read(self, size: int | None = None) -> bytes:
        """The same, for who streams it."""
        body, self._body = self._body, b""
        return body
