"""Carry-over: what was written to one database since a backup of it, brought into the other."""

from taly.database.carry.capture import left_behind
from taly.database.carry.carry import Carry, can_carry, take_away
from taly.database.carry.model import Passed, Proof, ProofFailed, Since, TableProof

__all__ = [
    "Carry",
    "Passed",
    "Proof",
    "ProofFailed",
    "Since",
    "TableProof",
    "can_carry",
    "left_behind",
    "take_away",
]
