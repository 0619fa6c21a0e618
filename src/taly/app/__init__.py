"""The use cases that every front end calls, and the composition root."""
