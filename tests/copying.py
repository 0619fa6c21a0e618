"""Imported where sandboxes are forked from: their servers begin with a copy of one cluster."""

from tests.cluster import make_sandboxes_copy

make_sandboxes_copy()
