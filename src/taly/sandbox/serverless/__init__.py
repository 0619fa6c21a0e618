"""The emulated AWS of the Serverless Framework services."""

from taly.sandbox.serverless.emulator import ServerlessEmulator

__all__ = ["ServerlessEmulator"]
