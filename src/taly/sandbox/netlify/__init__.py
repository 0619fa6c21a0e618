"""The emulated Netlify: the operations that a rollback uses, as netlify/open-api 2.55 has them."""

from taly.sandbox.netlify.emulator import NetlifyEmulator

__all__ = ["NetlifyEmulator"]
