"""An emulated Vercel: deployments, production aliases and the jobs that move them."""

from taly.sandbox.vercel.emulator import VercelEmulator

__all__ = ["VercelEmulator"]
