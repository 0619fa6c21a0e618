"""Netlify: a rollback is a restore that was seen published, and a lock that was seen held."""

from taly.providers.netlify.provider import NetlifyProvider

__all__ = ["NetlifyProvider"]
