"""The emulated Amazon RDS: moto's requests and replies, real PostgreSQL servers behind them."""

from taly.sandbox.rds.emulator import RdsEmulator

__all__ = ["RdsEmulator"]
