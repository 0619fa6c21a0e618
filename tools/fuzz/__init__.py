"""Hostile input for every reader of taly's: `python -m tools.fuzz --seconds 60`."""
