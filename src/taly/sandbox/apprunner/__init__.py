"""Emulated AWS App Runner, with the ECR and CloudTrail that a rollback needs to ask."""

from taly.sandbox.apprunner.emulator import AppRunnerEmulator

__all__ = ["AppRunnerEmulator"]
