"""The provider for services that the Serverless Framework deploys to AWS."""

from taly.providers.serverless.directories import match_directory
from taly.providers.serverless.provider import ServerlessProvider

__all__ = ["ServerlessProvider", "match_directory"]
