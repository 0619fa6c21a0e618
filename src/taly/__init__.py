"""Taly Rollback: takes a whole platform, on several vendors, back to a release that worked."""

__version__ = "0.1.0"
