"""Runs plans: the store, the idempotency rule, the scheduler, verification."""
