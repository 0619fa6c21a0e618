"""How the rows of one schema read in another one: which table, column and value goes where."""

from taly.planning.carry.corresponding import correspond
from taly.planning.carry.describing import describe
from taly.planning.carry.hints import read_hints
from taly.planning.carry.model import (
    ColumnPair,
    Correspondence,
    Extra,
    Hint,
    Matched,
    MatchedEnum,
    MatchedTable,
    SplitColumn,
    TablePair,
)
from taly.planning.carry.pairs import pairs

__all__ = [
    "ColumnPair",
    "Correspondence",
    "Extra",
    "Hint",
    "Matched",
    "MatchedEnum",
    "MatchedTable",
    "SplitColumn",
    "TablePair",
    "correspond",
    "describe",
    "pairs",
    "read_hints",
]
