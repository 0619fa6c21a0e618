"""A secret put wherever a real one may be said, to be looked for where none may stand."""

CANARY = "canary-7f3a9c1e5b"
