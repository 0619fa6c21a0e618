"""AWS App Runner: rolls a service back to an earlier image, by digest."""

from taly.providers.apprunner.provider import AppRunnerProvider

__all__ = ["AppRunnerProvider"]
