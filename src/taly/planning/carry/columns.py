"""One column of the target: where its value comes from, and what must be said about it."""

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Literal

from taly.model.catalog import Catalog, Column, Table
from taly.planning.carry.hints import ALIAS, over_the_row
from taly.planning.carry.labels import read_enum
from taly.planning.carry.model import ColumnPair, Hint, Matched, Name
from taly.planning.carry.reading import Reading, as_text, given, read
from taly.planning.carry.shapes import Shape, Shapes
from taly.planning.down.names import normal, quoted


@dataclass(frozen=True, slots=True, kw_only=True)
class Link:
    """A table on both sides."""

    source: Table
    target: Table
    before: Name
    """What the old schema calls it."""
    columns: Mapping[str, str]
    """Target's column → source's."""


@dataclass
class Columns:
    """Makes column pairs, and gathers what is to be said about them."""

    source: Catalog
    target: Catalog
    matched: Matched
    hints: Mapping[tuple[Name, str], Hint]
    backwards: bool
    conversions: list[str] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)

    def __post_init__(self) -> None:
        self._from, self._to = Shapes(self.source), Shapes(self.target)
        self._labels = {
            (one.before, one.live)[:: 1 if self.backwards else -1]: {
                (old if self.backwards else new): (new if self.backwards else old)
                for old, new in one.labels
            }
            for one in self.matched.enums
        }
        self._types = {
            normal(new if self.backwards else old): normal(old if self.backwards else new)
            for old, new in self.matched.types
        }
        self._overwritten = frozenset(self.matched.overwritten)
        self._computed = {(table, column): by for table, column, by in self.matched.computed}

    def pair(self, link: Link, column: Column) -> ColumnPair | None:
        """How a column of the target is read; None when its value does not come from the source."""
        name = link.columns.get(column.name)
        source = next((one for one in link.source.columns if one.name == name), None)
        if source is None:
            return self._out_of_nothing(link, column)
        place = (link.before, source.name if self.backwards else column.name)
        hint = self.hints.get(place)
        same = source.name == column.name and self._same(source, column)
        if hint is not None and hint.transform:
            changed = not same or place in self._overwritten or not self.matched.followed
            if not changed:
                self.notes.append(
                    f"transform of {hint.column} is not used: no migration changes that column"
                )
            elif self.backwards:
                return None  # nothing says how an old value reads in the new schema
            elif made := self._hinted(link, column, hint.transform, source.name):
                return made
        return self._read(link, source, column, hint)

    def _same(self, source: Column, target: Column) -> bool:
        """Whether both are of one type, by whatever name."""
        old, new = self._to.of(target.type), self._from.of(source.type)
        if old.base.endswith("[]") != new.base.endswith("[]"):
            return False
        if old.enum is not None and new.enum is not None:
            return self._known(new, old) is not None and (
                old.text == new.text or (_spelled(old) and _spelled(new))
            )
        stem = normal(target.type).removesuffix("[]")
        renamed = self._types.get(stem, stem) == normal(source.type).removesuffix("[]")
        return renamed and old.composite == new.composite

    def _known(self, source: Shape, target: Shape) -> dict[str, str] | None:
        """Label of the source → the target's, for two enums that are one; else None."""
        if source.enum is None or target.enum is None:
            return None
        names = (
            (source.enum.schema, source.enum.name),
            (target.enum.schema, target.enum.name),
        )
        return self._labels.get(names)

    def _out_of_nothing(self, link: Link, column: Column) -> ColumnPair | None:
        hint = self.hints.get((link.before, column.name))
        if self.backwards or hint is None or not (hint.transform or hint.fill):
            return None
        return self._hinted(link, column, hint.transform or hint.fill, "")

    def _hinted(
        self, link: Link, column: Column, expression: str, source: str
    ) -> ColumnPair | None:
        """The value that a hint's expression gives; None when the row lacks what it names."""
        text = self._expression(link, column, expression)
        if text is None:
            return None
        shape = self._to.of(column.type)
        reading = given(text, shape)
        return _pair(source, column, shape, "hinted", reading)

    def _expression(self, link: Link, column: Column, expression: str) -> str | None:
        names = [one.name for one in link.source.columns]
        text, unknown = over_the_row(expression, names)
        if not unknown:
            return text
        self.notes.append(
            f"the hint for {link.before[1]}.{column.name} is not used: {link.source.name} has no "
            f"column {unknown[0]} (a name with capitals needs double quotes)"
        )
        return None

    def _read(self, link: Link, source: Column, target: Column, hint: Hint | None) -> ColumnPair:
        """The source's value, read in the target's type."""
        old, new = self._to.of(target.type), self._from.of(source.type)
        value = f"{ALIAS}.{quoted(source.name)}"
        known = self._known(new, old)
        mapped = self._mapped(link, target, old, known, hint)
        same = self._same(source, target)
        plain = known if known is not None else _by_text(new, old)
        reading = read_enum(value, new, old, {**plain, **mapped})
        if reading is None:
            reading = Reading(as_text(value), exact=True) if same else read(value, new, old)
        how: Literal["same", "renamed", "retyped", "hinted"] = "retyped"
        if mapped:
            how = "hinted"
        elif same and reading.expression == as_text(value):
            how = "same" if source.name == target.name else "renamed"
        if not mapped:
            # An undo asks about the same columns as the way back did.
            exact = reading.exact and (not self.backwards or same or _is_exact(old, new))
            self._say(link, source, target, exact=exact)
        made = _pair(source.name, target, old, how, reading)
        return self._filled(link, source, target, made, hint)

    def _mapped(
        self,
        link: Link,
        target: Column,
        shape: Shape,
        known: Mapping[str, str] | None,
        hint: Hint | None,
    ) -> dict[str, str]:
        """What a hint says of labels that the target does not know."""
        if hint is None or self.backwards or not hint.enum_map:
            return {}
        labels = shape.enum.labels if shape.enum is not None else ()
        found = {}
        for now, then in hint.enum_map:
            if then not in labels:
                self.notes.append(
                    f"enum_map of {hint.column} is not used for {now}: the old schema "
                    f"has no value {then}"
                )
            elif now not in (labels if known is None else known):
                found[now] = then
        return found

    def _filled(
        self, link: Link, source: Column, target: Column, made: ColumnPair, hint: Hint | None
    ) -> ColumnPair:
        """NULL by the hint's value, where only the source allows it."""
        if hint is None or not hint.fill or self.backwards:
            return made
        if source.not_null or not target.not_null:
            return made
        text = self._expression(link, target, hint.fill)
        if text is None:
            return made
        value = given(text, self._to.of(target.type)).expression
        return replace(made, how="hinted", expression=f"coalesce({made.expression}, {value})")

    def _say(self, link: Link, source: Column, target: Column, *, exact: bool) -> None:
        old = source if self.backwards else target
        place = (link.before, old.name)
        by = self._computed.get(place)
        name = f"{shown(link.before)}.{old.name}"
        here = f"{shown((link.source.schema, link.source.name))}.{source.name}"
        then = "becomes" if self.backwards else "was"
        advice = (
            ""
            if self.backwards
            else f'; say how they read back with transform for "{name}" in taly.toml'
        )
        if not exact:
            self.conversions.append(
                f"{here} ({source.type}) {then} {quoted(target.name)} ({target.type}): "
                f"values are cast{advice}"
            )
        elif by is not None:
            self.conversions.append(
                f"{here}: migration {by} computes its values anew, and what was written since is "
                f"taken over as it is{advice}"
            )


def _spelled(shape: Shape) -> bool:
    """Whether it is the enum itself, or an array of it, and no domain over it."""
    assert shape.enum is not None, "asked of enums only"
    own = normal(quoted(shape.enum.schema, shape.enum.name))
    return normal(shape.text).removesuffix("[]") == own


def _is_exact(source: Shape, target: Shape) -> bool:
    reading = read_enum("", source, target, {}) or read("", source, target)
    return reading.exact


def _by_text(source: Shape, target: Shape) -> dict[str, str]:
    if source.enum is None or target.enum is None:
        return {}
    return {label: label for label in source.enum.labels if label in target.enum.labels}


def _pair(
    source: str,
    column: Column,
    shape: Shape,
    how: Literal["same", "renamed", "retyped", "hinted"],
    reading: Reading,
) -> ColumnPair:
    scalar = shape.enum is not None and not shape.is_array
    return ColumnPair(
        source=source,
        target=column.name,
        type=column.type,
        how=how,
        expression=reading.expression,
        labels=shape.enum.labels if scalar and shape.enum is not None else (),
        not_null=column.not_null,
        fits=reading.fits,
    )


def shown(name: Name) -> str:
    """A table as people call it: `public` goes without saying."""
    return name[1] if name[0] == "public" else ".".join(name)
