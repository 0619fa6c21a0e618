"""What a column's type is, as far as reading its values in another type depends on it."""

from dataclasses import dataclass

from postgast import PgQueryError

from taly.model.catalog import Catalog, Enum
from taly.planning.down.names import normal, quoted
from taly.planning.migrations.names import type_text
from taly.planning.parsing import parse


@dataclass(frozen=True, slots=True, kw_only=True)
class Shape:
    """A type, with what the catalog says of it."""

    text: str
    """As the catalog prints it."""
    base: str
    """Its short spelling; a domain's base type in its stead."""
    enum: Enum | None = None
    """The enum that it, or each of its elements, is of."""
    composite: str = ""
    """How it is defined, for a composite type."""

    @property
    def is_array(self) -> bool:
        """Whether its values have elements."""
        return self.base.endswith("[]")

    def element(self) -> "Shape":
        """The type of its elements."""
        text, base = self.text.removesuffix("[]"), self.base.removesuffix("[]")
        return Shape(text=text, base=base, enum=self.enum, composite=self.composite)


class Shapes:
    """The types of one catalog."""

    def __init__(self, catalog: Catalog) -> None:
        self._enums = {normal(quoted(one.schema, one.name)): one for one in catalog.enums}
        self._domains: dict[str, str] = {}
        self._composites: dict[str, str] = {}
        for other in catalog.others:
            if other.kind == "domain":
                self._domains[normal(other.name)] = _base(other.definition)
            elif other.kind == "type":
                self._composites[normal(other.name)] = other.definition

    def of(self, text: str) -> Shape:
        """The shape of a column's type."""
        base, seen = normal(text), set[str]()
        while (stem := base.removesuffix("[]")) in self._domains and stem not in seen:
            seen.add(stem)
            base = base.replace(stem, self._domains[stem], 1)
        stem = base.removesuffix("[]")
        return Shape(
            text=text,
            base=base,
            enum=self._enums.get(stem),
            composite=self._composites.get(stem, ""),
        )


def _base(definition: str) -> str:
    """The type that a domain is over."""
    try:
        return normal(type_text(parse(definition).stmts[0].stmt.create_domain_stmt.type_name))
    except (PgQueryError, IndexError):
        return ""
