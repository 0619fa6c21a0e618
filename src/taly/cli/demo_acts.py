"""What happens in the demo, act by act, and what each act has to show."""

import time
from collections import Counter
from collections.abc import Sequence
from itertools import pairwise
from typing import Any

from taly.cli.demo_bookings import account, told
from taly.cli.demo_stage import Stage, Stopped, fetch, wait_for

PREPARES = "CloudFormation.CreateChangeSet"
"""Lists what an update would do; it changes nothing until it is executed."""
SETTLED_S = 900.0
"""Virtual seconds within which any deploy that was pushed has gone live, or never will."""
CUSTOMERS = 4
DATABASE = "database"


def play(stage: Stage) -> None:
    """The acts, in order."""
    releases = {release["name"]: release for release in stage.ask("releases")["releases"]}
    good, bad = releases["R3"]["commit"], releases["R4"]["commit"]
    act_broken(stage)
    act_plan(stage)
    before = _ids(stage)
    run_id = act_rollback(stage, good)
    act_push(stage, good, bad)
    act_undo(stage, run_id, before)
    act_again(stage, good)


def act_broken(stage: Stage) -> None:
    """What users see, what CI kept, and what customers go on doing."""
    stage.say("R4 went out forty minutes ago: bookings are taken, and nobody can see them")
    status, _ = fetch(f"{stage.urls['backend']}/bookings")
    stage.claim("the bad release fails for users", status >= 500, f"GET /bookings: {status}")
    wait_for(lambda: len(_acknowledged(stage)) >= 2 * CUSTOMERS, 20)
    booked = len(_acknowledged(stage))
    stage.claim("customers keep booking all the same", booked > 0, f"{booked} acknowledged so far")
    stage.taly("status")
    stage.taly("releases")
    stage.say("Its migration renamed one column and dropped another; CI had made a checkpoint")
    stage.taly("checkpoint", "list")
    kept = stage.ask("checkpoint", "list").get("checkpoints", [])
    held = bool(kept) and bool(kept[0]["pending"]) and kept[0]["after"] is not None
    stage.claim("there is a checkpoint from before the migration", held, f"{len(kept)} kept")


def act_plan(stage: Stage) -> None:
    """What would be done with the database, counted before anyone confirms."""
    stage.say("What would going back do? Nothing is touched by asking")
    stage.taly("plan")
    parts = stage.ask("plan").get("plan", {}).get("components", [])
    outlook = next((one["database"] for one in parts if one["component"] == DATABASE), None) or {}
    counts = outlook.get("counts", [])
    written = sum(one["written"] for one in counts)
    rescued = sum(one["rescued"] or 0 for one in counts)
    verdict = outlook.get("verdict", "none")
    stage.figures |= {"verdict": verdict, "rows_written_since": written, "rows_to_rescue": rescued}
    stage.claim(
        "the plan says what becomes of all that was written since",
        verdict in ("revert", "restore") and written > 0,
        f"{verdict}: {written:,} rows written, {rescued:,} of them to be rescued",
    )


def act_rollback(stage: Stage, good: str) -> str:
    """One command, while customers book."""
    stage.say("One command, while customers go on booking")
    calls = len(stage.control.calls())
    began = time.time()
    code = stage.taly("rollback", "--yes")
    ended = time.time()
    stage.figures["rollback_seconds"] = round(ended - began, 1)
    _claim_live(stage, "R3", code)
    runs = stage.ask("runs")["runs"]
    if not runs:
        raise Stopped
    run = runs[0]
    steps = stage.ask("show", run["id"])["steps"]
    acted = [one for one in steps if one["how"] == "acted" and one["component"] != DATABASE]
    writes = [call for call in stage.control.writes(calls) if call["target"] != PREPARES]
    stage.claim(
        "one write for each change", len(writes) == len(acted), f"{len(writes)} for {len(acted)}"
    )
    _claim_users(stage, good, "again")
    _measure(stage, began, ended)
    _claim_bookings(stage, "after_rollback")
    stage.say("What the old schema cannot hold lies in a rescue bundle")
    stage.taly("rescue", "list")
    return str(run["id"])


def act_push(stage: Stage, good: str, bad: str) -> None:
    """The bad version comes once more, by itself."""
    stage.say("Somebody's late push of the bad version arrives everywhere, its migration too")
    stage.control.push(bad, outcome="broken", message="retry the deploy")
    stage.control.clock(advance_s=SETTLED_S)
    wait_for(lambda: not _in_flight(stage), 60)
    deploys = stage.control.state()["vendors"]["postgres"][DATABASE]["deploys"]
    stage.claim(
        "its pipeline is stopped before the migration",
        deploys[-1]["code"] == "stopped",
        f"the job is {deploys[-1]['code']}",
    )
    _claim_users(stage, good, "whatever is pushed")


def act_undo(stage: Stage, run_id: str, before: dict[str, str]) -> None:
    """All of it is taken back."""
    stage.say("It was a false alarm? The whole rollback can be undone")
    code = stage.taly("undo", run_id, "--yes")
    now = _ids(stage)
    same = sum(now[name] == before[name] for name in before)
    stage.claim(
        "undo brings back exactly what was",
        code == 0 and same == len(before),
        f"{same} of {len(before)}, exit {code}",
    )
    status, _ = fetch(f"{stage.urls['backend']}/health")
    stage.claim("the bad version is back, as asked", status >= 500, f"GET /health: {status}")
    _claim_bookings(stage, "after_undo", in_database=True)


def act_again(stage: Stage, good: str) -> None:
    """And once more to the good release."""
    stage.say("It was no false alarm: once more")
    code = stage.taly("rollback", "--to", "R3", "--yes")
    _claim_live(stage, "R3", code)
    _claim_users(stage, good, "once more")
    _claim_bookings(stage, "at_the_end")


def _claim_live(stage: Stage, release: str, code: int) -> None:
    status = stage.ask("status")
    components = status["components"]
    live = status["live_release"]
    there = sum(component["in_release"] and live == release for component in components.values())
    held = code == 0 and there == len(components)
    stage.claim(
        f"every component is at {release}", held, f"{there} of {len(components)}, exit {code}"
    )


def _claim_users(stage: Stage, commit: str, when: str) -> None:
    answers = {
        name: fetch(url if name != "backend" else f"{url}/health")
        for name, url in stage.urls.items()
    }
    served = sum(status == 200 and commit[:7] in body for status, body in answers.values())
    status, _ = fetch(f"{stage.urls['backend']}/bookings")
    held = served == len(stage.urls) and status == 200
    stage.claim(
        f"users are served {commit[:7]} {when}",
        held,
        f"{served} of {len(stage.urls)} sites, bookings {status}",
    )


def _claim_bookings(stage: Stage, when: str, *, in_database: bool = False) -> None:
    """Count what customers were told against what there is, while they wait for a moment.

    `in_database`: nothing of it may be left in a rescue bundle only.
    """
    stage.control.set_writers(0)
    rows = told(stage.control.writers())
    rescue = stage.directory / ".taly" / "rescue"
    found = account(rows, stage.environ["DATABASE_URL"], rescue)
    stage.control.set_writers(CUSTOMERS)
    held = found.whole and not (in_database and found.rescued)
    stage.claim("no booking or refund that was acknowledged is lost", held, str(found))
    stage.figures |= {
        f"acknowledged_{when}": found.told,
        f"in_database_{when}": found.in_database,
        f"rescued_{when}": found.rescued,
        f"missing_{when}": len(found.missing),
    }


def _measure(stage: Stage, began: float, ended: float) -> None:
    """How it went for customers meanwhile: requests that failed, and the longest silence."""
    requests = [
        one
        for one in stage.control.writers()
        if one["at_unix"] <= ended and one["at_unix"] + one["seconds"] >= began
    ]
    outcomes = Counter(one["outcome"] for one in requests)
    silence_s = longest_silence(requests, began, ended)
    stage.figures |= {
        "requests_meanwhile": len(requests),
        "failed_meanwhile": outcomes["failed"],
        "longest_without_a_booking_s": round(silence_s, 2),
        "longest_wait_s": round(max((one["seconds"] for one in requests), default=0.0), 2),
    }
    stage.note(
        f"meanwhile {len(requests):,} requests of customers: {outcomes['acknowledged']:,} "
        f"acknowledged, {outcomes['failed']:,} failed"
    )
    stage.note(f"longest time in which no booking was taken: {silence_s:.1f} s")


def longest_silence(requests: Sequence[dict[str, Any]], began: float, ended: float) -> float:
    """Real seconds, the longest stretch in which nobody's write was acknowledged."""
    answers = [float(one["at_unix"] + one["seconds"]) for one in requests if _is_taken(one)]
    moments = [began, *sorted(at for at in answers if began < at < ended), ended]
    return max(later - earlier for earlier, later in pairwise(moments))


def _is_taken(request: dict[str, Any]) -> bool:
    return bool(request["outcome"] == "acknowledged")


def _acknowledged(stage: Stage) -> list[dict[str, Any]]:
    return [one for one in stage.control.writers() if _is_taken(one)]


def _ids(stage: Stage) -> dict[str, str]:
    components = stage.ask("status")["components"]
    return {
        name: f"{component['deployment']} auto-deploy {component['auto_deploy']}"
        for name, component in components.items()
    }


def _in_flight(stage: Stage) -> bool:
    return any(component["in_flight"] for component in stage.ask("status")["components"].values())
