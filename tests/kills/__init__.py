"""The kill matrix: real processes, killed and frozen, on real stores, against emulated vendors."""
