"""Whether taly's own state lies where it should, and databases are reached as they should be."""

from collections.abc import Iterable, Iterator

from taly.app.context import Context
from taly.database.connection import target_of
from taly.errors import TalyError, UsageError
from taly.model.check import Finding
from taly.planning.codes import finding
from taly.transport import tls_mode


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


def weak_connections(context: Context, components: Iterable[str]) -> Iterator[Finding]:
    """A finding for each of these databases whose server need not prove who it is."""
    for name in components:
        component = context.environment.component(name)
        if component.provider != "postgres":
            continue
        try:
            target = target_of(component.settings, context.environ)
        except TalyError:
            continue  # a database without a URL is unknown already, and says so
        mode = tls_mode(target.url, context.environ)
        if mode == "off":
            text = f"the connection to {target.place} is not encrypted (sslmode=disable or allow)"
            yield finding("database-tls-off", name, text, "sslmode=verify-full in its URL")
        elif mode == "unverified":
            text = f"the server at {target.place} need not prove who it is"
            hint = "network.ca_file in taly.toml, or sslmode=verify-full in its URL"
            yield finding("database-tls-unverified", name, text, hint)
