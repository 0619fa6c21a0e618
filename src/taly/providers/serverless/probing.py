"""Where a service stands, seen from what a step wants."""

from functools import cached_property

from taly.model.plan import Step
from taly.model.ports import Attempt, Clock, Failed, InFlight, Other, Probe, Wanted
from taly.model.release import Evidence, State
from taly.providers.serverless import address as addresses
from taly.providers.serverless import events as stack_events
from taly.providers.serverless.aws_reads import AwsReads
from taly.providers.serverless.changeset import token_of
from taly.providers.serverless.events import StackOperation
from taly.providers.serverless.live import Live, physical_names, read_live, readiness, state_of

RECENT_PAGES = 5


class Prober:
    """Looks at one step's service once."""

    def __init__(self, reads: AwsReads, clock: Clock, step: Step) -> None:
        self._reads = reads
        self._clock = clock
        self._step = step
        self._address = addresses.of_mapping(step.address)
        self._evidence: list[Evidence] = []

    def probe(self, attempt: Attempt | None) -> Probe:
        """Wanted only if CodeSha256 and environment of every function are as the template says."""
        stack = self._reads.stack(self._address.stack)
        status = str(stack["StackStatus"])
        self._note("cloudformation:DescribeStacks", status)
        busy = readiness(status) == "busy"
        if busy and "CLEANUP" not in status:
            return self._in_flight(status, attempt)
        state, live = self._state(status)
        wrong = self._wrong(state, live)
        if not wrong:
            return Wanted(state=state, evidence=tuple(self._evidence))
        if busy:
            return self._in_flight(status, attempt)
        failure = self._failure(attempt, wrong)
        if failure:
            return Failed(reason=failure, evidence=tuple(self._evidence))
        return Other(state=state, evidence=tuple(self._evidence))

    def _state(self, status: str) -> tuple[State, Live]:
        stack = self._address.stack
        template = self._reads.template(stack)
        names = physical_names(self._reads, stack, template)
        live = read_live(self._reads, stack, template, names)
        # A finished clean-up is not waited for: the new code serves already.
        settled = status.replace("_CLEANUP_IN_PROGRESS", "")
        state = state_of(live, settled, self._address.prefix)
        self._note("cloudformation:GetTemplate", f"directory {state['directory']}")
        code = str(state["code"])[7:19]
        self._note("lambda:GetFunctionConfiguration", f"CodeSha256 of all functions: {code}…")
        return state, live

    def _wrong(self, state: State, live: Live) -> str:
        """What is not as wanted, in words; empty = nothing."""
        wanted = self._step.wanted
        differing = [name for name, value in wanted.items() if state.get(name) != value]
        if "directory" not in wanted and "code" not in wanted:
            return ", ".join(differing)
        if state["stack"] != "ready":
            # GetTemplate then tells what was tried, and functions may have got it before the rest.
            return f"the stack is {state['stack']}"
        if differing == ["code"]:
            return "the functions run other code than the directory holds"
        if differing:
            return ", ".join(f"{name} is {state.get(name)}" for name in differing)
        drifted = live.drifted()
        if drifted:
            names = ", ".join(drifted)
            self._note("lambda:GetFunctionConfiguration", f"differs from the template: {names}")
            return f"the environment differs from the template: {names}"
        return ""

    def _in_flight(self, status: str, attempt: Attempt | None) -> InFlight:
        running = self._latest()
        mine = self._mine(attempt)
        ours = mine is not None and running is not None and mine.token == running.token
        toward = stack_events.directory_of(running, self._address.prefix) if running else ""
        forward = not status.startswith("UPDATE_ROLLBACK")
        recovers = self._step.wanted.get("stack") == "ready" and not forward
        leads_there = forward and bool(toward) and toward == self._step.wanted.get("directory")
        return InFlight(
            operation=(running.token if running else "") or self._address.stack,
            same_target=ours or leads_there or recovers,
            evidence=tuple(self._evidence),
            what=f"{status} to {toward}" if toward else status,
        )

    def _failure(self, attempt: Attempt | None, wrong: str) -> str:
        """Why our own operation ended without doing what was asked; empty if it is not ours."""
        if attempt is None:
            return ""
        if attempt.receipt.get("no_changes"):
            return (
                f"CloudFormation has nothing to update, and yet {wrong}: it was changed past"
                " CloudFormation (`deploy function`, the console)"
            )
        mine = self._mine(attempt)
        if mine is None or mine.outcome == "running":
            return ""
        self._note("cloudformation:DescribeStackEvents", f"our update ended {mine.status}")
        if mine.outcome == "succeeded":
            return f"the stack says {mine.status}, and yet {wrong}"
        said = f": {mine.reasons[0]}" if mine.reasons else ""
        return f"CloudFormation ended with {mine.status}{said}"

    @cached_property
    def _operations(self) -> tuple[StackOperation, ...]:
        """Read once a look."""
        return stack_events.operations(self._reads.events(self._address.stack, RECENT_PAGES))

    def _latest(self) -> StackOperation | None:
        return self._operations[-1] if self._operations else None

    def _mine(self, attempt: Attempt | None) -> StackOperation | None:
        """The operation with our own token: an earlier UPDATE_COMPLETE is not our success."""
        if attempt is None:
            return None
        token = token_of(attempt.key)
        return next((one for one in reversed(self._operations) if one.token == token), None)

    def _note(self, call: str, says: str) -> None:
        self._evidence.append(Evidence(call=call, at=self._clock.now(), says=says))
