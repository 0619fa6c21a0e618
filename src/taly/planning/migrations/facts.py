"""What the live catalog is asked about a migration, and what it answered."""

from collections.abc import Mapping
from dataclasses import dataclass, field


@dataclass(frozen=True, slots=True, kw_only=True)
class EnumValueUsed:
    """Does any row of any table hold this value of this enum?"""

    type: str
    value: str


@dataclass(frozen=True, slots=True, kw_only=True)
class HasNulls:
    """Is this column NULL in any row?"""

    table: str
    column: str


@dataclass(frozen=True, slots=True, kw_only=True)
class IndexInvalid:
    """Was this index left INVALID by a CONCURRENTLY build that failed?"""

    index: str


Question = EnumValueUsed | HasNulls | IndexInvalid


@dataclass(frozen=True, slots=True, kw_only=True)
class CatalogFacts:
    """What is known besides the migration's own text; a question not answered is not known."""

    answers: Mapping[Question, bool] = field(default_factory=dict)
    earlier: tuple[str, ...] = ()
    """The texts of every migration before it, from the first on, in order: they tell what was
    dropped or retyped, which the live catalog no longer knows."""
    complete: bool = False
    """Whether `earlier` holds all of them."""
