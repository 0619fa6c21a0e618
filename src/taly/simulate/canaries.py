"""A secret that stands in every place where a real one could, to be looked for where it must not."""

CANARY = "canary-7f3a9c1e5b"
