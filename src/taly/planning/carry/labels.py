"""How an enum's values read in another schema, where labels have come, gone or been renamed."""

from collections.abc import Mapping

from taly.planning.carry.reading import Reading, as_text, stem_of
from taly.planning.carry.shapes import Shape
from taly.planning.down.names import moved_aside, text_literal
from taly.planning.down.renames import ordered
from taly.planning.migrations.types import TEXTS


def read_enum(value: str, source: Shape, target: Shape, known: Mapping[str, str]) -> Reading | None:
    """Read an enum's value, or a text, in the target's enum; None when it is neither.

    `known`: label of the source → the target's label for the same.
    """
    if target.enum is None or source.is_array != target.is_array:
        return None
    if source.enum is None and stem_of(source.base.removesuffix("[]"))[0] not in TEXTS:
        return None
    labels, there = target.enum.labels, translation(source, target, known)
    expression = relabelled(value, source, there)
    every = [there.get(label, label) for label in source.enum.labels] if source.enum else None
    strange = every is None or not set(every) <= set(labels)
    fits = _fit(expression, labels) if strange and target.is_array else ""
    return Reading(expression, exact=True, fits=fits)


def translation(source: Shape, target: Shape, known: Mapping[str, str]) -> dict[str, str]:
    """The labels of the source that are called otherwise in the target.

    A label that is new, but is called as one that the target knows for another one, gets a name
    that the target does not know: so it is set aside like every new label.
    """
    assert target.enum is not None, "asked of enums only"
    if source.enum is None:
        return {now: then for now, then in known.items() if now != then}
    found = {}
    for label in source.enum.labels:
        taken = label in target.enum.labels and label not in known
        there = moved_aside(label) if taken else known.get(label, label)
        if there != label:
            found[label] = there
    return found


def relabelled(value: str, shape: Shape, labels: Mapping[str, str]) -> str:
    """An enum's value, or an array of them, with its labels replaced."""
    if not labels:
        return as_text(value)
    if shape.is_array:
        text = f"({value})::text[]"
        for now, then in ordered(labels.items()):
            text = f"array_replace({text}, {text_literal(now)}, {text_literal(then)})"
        return f"{text}::text"
    cases = " ".join(
        f"WHEN {text_literal(now)} THEN {text_literal(then)}" for now, then in labels.items()
    )
    return f"CASE {as_text(value)} {cases} ELSE {as_text(value)} END"


def _fit(expression: str, labels: tuple[str, ...]) -> str:
    """Whether every element of an array, as text, is a label that the target knows."""
    listed = ", ".join(text_literal(label) for label in labels)
    return (
        f"NOT EXISTS (SELECT FROM unnest(({expression})::text[]) AS e(v) "
        f"WHERE e.v <> ALL (ARRAY[{listed}]::text[]))"
    )
