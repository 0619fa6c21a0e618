"""Workers: what a taly.toml looks like to them, and how one serves its environment."""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from hashlib import sha256

import taly
from taly.app.context import Context, open_context
from taly.app.plans import against, plan_undo, recheck_plan
from taly.app.runs import after_run, engine_of, takes_itself_back
from taly.app.shared import store_of
from taly.config import PATHS, is_postgres
from taly.engine.owner import Owner
from taly.engine.runner import Engine
from taly.engine.store import Store
from taly.engine.worker import Refusal
from taly.errors import TalyError, UsageError
from taly.model.environment import Component
from taly.model.plan import Plan, Step
from taly.model.ports import Clock
from taly.model.run import Run
from taly.planning.digest import is_intact, sealed

ADDRESSED = {"migrations": "directory", "checkpoints": "checkpoints", "rescue": "rescue"}
"""A database's setting that is a folder → the key under which its steps carry it."""
DIGEST_LENGTH = 16


def refuse_local(store: str, command: str) -> None:
    """UsageError `store-local` where no worker could reach the store."""
    if not is_postgres(store):
        raise UsageError(
            f"workers need a store that all machines reach, and {store} is a file of this one",
            reference="store-local",
            hint=f"{command} --store postgresql://…   (or `store` in taly.toml)",
        )


def fits_of(context: Context) -> Mapping[str, str]:
    """Component → digest of what its steps depend on in taly.toml; folders may differ."""
    return {one.name: _digest(one) for one in context.environment.components}


def fits_for(context: Context, plan: Plan) -> Mapping[str, str]:
    """The same, of the components that the plan has steps for."""
    fits = fits_of(context)
    return {name: fits[name] for step in plan.steps if (name := step.component) in fits}


def _digest(component: Component) -> str:
    settings = {k: v for k, v in component.settings.items() if k not in PATHS}
    canonical = json.dumps([component.provider, settings], sort_keys=True)
    return sha256(canonical.encode("utf-8", "surrogatepass")).hexdigest()[:DIGEST_LENGTH]


def anchored(context: Context, plan: Plan) -> Plan:
    """The plan with the folders of this machine's taly.toml in its database steps."""
    folders = {
        one.name: {key: one.settings[name] for name, key in ADDRESSED.items()}
        for one in context.environment.components
        if one.provider == "postgres"
    }

    def here(step: Step) -> Step:
        own = {k: v for k, v in folders.get(step.component, {}).items() if k in step.address}
        return replace(step, address={**step.address, **own}) if own else step

    return replace(plan, steps=tuple(here(step) for step in plan.steps))


@dataclass(frozen=True)
class ServedEnvironment:
    """One taly.toml, as a worker serves it; see taly.engine.worker.Served."""

    context: Context
    engine: Engine
    fits: Mapping[str, str]

    @property
    def name(self) -> str:
        """The environment's."""
        return self.context.environment.name

    @property
    def store(self) -> Store:
        """The runs' connection to the store."""
        return self.context.store

    @property
    def clock(self) -> Clock:
        """The environment's clock."""
        return self.context.clock

    @property
    def lease_s(self) -> float:
        """Real seconds of silence after which others take a run over."""
        return self.context.environment.policy.lease_s

    def refusal(self, plan: Plan) -> Refusal | None:
        """What all checks say here, as they said where the plan was made."""
        if not is_intact(plan):
            text = "the stored plan is not what its digest says"
            return Refusal(reference="plan-altered", message=text)
        try:
            planned = recheck_plan(self.context, sealed(anchored(self.context, plan)))
        except TalyError as error:
            return Refusal(reference=error.reference, message=error.message, hint=error.hint)
        first = against(planned)
        if first is None:
            return None
        where = f"{first.component}: " if first.component else ""
        return Refusal(reference=first.code, message=where + first.text, hint=first.hint)

    def concluded(self, run: Run) -> str:
        """Bundles and marks, as after any run; an undo is queued where the policy wants one."""
        after_run(self.context, run)
        if not takes_itself_back(run):
            return ""
        try:
            # Made from the plan as it was submitted, with folders of another machine.
            made = plan_undo(self.context, run.id).plan
            planned = recheck_plan(self.context, sealed(anchored(self.context, made)))
        except TalyError as error:
            return f"it cannot be taken back: {error.message}"
        if planned.refused:
            return "its undo is refused: taly undo says why"
        if not any(step.writes for step in planned.plan.steps):
            return "there is nothing to take back"
        return f"taken back by {submit(self.context, planned.plan, by=run.by)}"


def submit(context: Context, plan: Plan, *, by: str = "") -> str:
    """Lock the environment for this plan and leave it to workers; the run's id."""
    return context.store.submit_run(
        plan,
        Owner.here(by or context.by, context.identity),
        at=context.clock.now(),
        version=taly.__version__,
        fits=fits_for(context, plan),
    )


def serve(
    configs: Sequence[str], store: str, *, name: str
) -> tuple[Store, list[ServedEnvironment]]:
    """A connection for the queue, and what each of these taly.toml files is to a worker.

    Raises UsageError where two are of one environment, or their stores differ or are local.
    """
    contexts = [open_context(config_path=path, store=store) for path in configs or [""]]
    stores = {one.config.store for one in contexts}
    names = [one.environment.name for one in contexts]
    if len(stores) > 1 or len(set(names)) < len(names):
        what = "different stores" if len(stores) > 1 else f"one environment, {names[0]}"
        raise UsageError(
            f"the taly.toml files are of {what}: a worker has one store, and each environment once",
            reference="worker-configs",
            hint="taly worker --config FILE --store postgresql://…",
        )
    refuse_local(contexts[0].config.store, "taly worker")
    queue = store_of(contexts[0].config, contexts[0].environ)
    return queue, [_served(one, name) for one in contexts]


def _served(context: Context, name: str) -> ServedEnvironment:
    engine = engine_of(context, by=f"worker {name}", anchored=lambda plan: anchored(context, plan))
    return ServedEnvironment(context=context, engine=engine, fits=fits_of(context))
