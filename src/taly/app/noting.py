"""Writing into the audit trail what somebody did outside any run."""

from taly.app.context import Context
from taly.model.events import Act


def note(context: Context, kind: str, **about: str) -> None:
    """Append it to the environment's trail; `kind` as `Act.kind`."""
    act = Act(kind=kind, by=context.by, about=about, identity=context.identity)
    context.store.note(context.environment.name, context.clock.now(), act)
