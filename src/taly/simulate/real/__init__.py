"""The second mode of the simulator: the real providers against the emulated vendors (adr/0030)."""
