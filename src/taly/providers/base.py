"""The registry of providers: built-in ones in a dict, others by entry point."""

from collections.abc import Callable, Mapping
from importlib import import_module
from importlib.metadata import entry_points

from taly.errors import UsageError
from taly.model.ports import Clock, Provider

ProviderFactory = Callable[[Mapping[str, str], Clock], Provider]
"""Takes the process environment (or what stands for it) and the clock; sends nothing yet."""

BUILT_IN: Mapping[str, str] = {
    "apprunner": "taly.providers.apprunner:AppRunnerProvider",
    "netlify": "taly.providers.netlify:NetlifyProvider",
    "vercel": "taly.providers.vercel:VercelProvider",
    "serverless": "taly.providers.serverless:ServerlessProvider",
    "postgres": "taly.database.provider:PostgresProvider",
}
"""Imported only when a component uses them: boto3 alone costs a fifth of a second."""


def provider_factory(name: str) -> ProviderFactory:
    """The factory of the provider of that name; UsageError if there is none."""
    if name in BUILT_IN:
        module, _, attribute = BUILT_IN[name].partition(":")
        factory: ProviderFactory = getattr(import_module(module), attribute)
        return factory
    for point in entry_points(group="taly.providers", name=name):
        loaded: ProviderFactory = point.load()
        return loaded
    known = ", ".join(sorted(BUILT_IN))
    raise UsageError(
        f"there is no provider {name!r}; known: {known}",
        reference="provider-unknown",
        hint="taly init --help",
    )
