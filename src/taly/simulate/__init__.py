"""The simulator: the real planner, step rule and store in a world of seeded faults (adr/0030)."""
