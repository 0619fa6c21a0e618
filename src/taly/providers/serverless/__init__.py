"""The provider for services that the Serverless Framework deploys to AWS."""

from taly.providers.serverless.provider import ServerlessProvider

__all__ = ["ServerlessProvider"]
