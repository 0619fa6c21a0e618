"""The emulated platform on loopback: real HTTP, real processes, a real PostgreSQL."""
