"""Whether taly's own state lies where it should: never inside the patient."""

from collections.abc import Iterator

from taly.app.context import Context
from taly.database.connection import target_of
from taly.errors import UsageError
from taly.model.check import Finding
from taly.planning.codes import finding


def store_in_patient(context: Context) -> Iterator[Finding]:
    """One finding for each database of the environment that holds taly's store as well."""
    store = context.config.store
    if not store.startswith(("postgres://", "postgresql://")):
        return
    for component in context.environment.components:
        if component.provider != "postgres":
            continue
        try:
            place = target_of(component.settings, context.environ).place
            own = target_of({"url_env": "STORE"}, {"STORE": store}).place
        except UsageError:
            continue  # a database without a URL is unknown already, and says so
        if place == own:
            text = f"runs are kept in {place}, the very database that may have to go back"
            yield finding("store-in-database", component.name, text, "taly rollback --store FILE")
