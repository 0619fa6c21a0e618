"""Vercel: instant rollback, checked alias by alias."""

from taly.providers.vercel.provider import VercelProvider

__all__ = ["VercelProvider"]
