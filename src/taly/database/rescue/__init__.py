"""Rescue bundles: what has no place in the older database, kept as plain files, and put back."""
