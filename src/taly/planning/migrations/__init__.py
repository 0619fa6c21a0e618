"""What each migration after the target release means for going back: keep, revert or restore.

The text is parsed with PostgreSQL's own grammar and played over what the earlier migrations made, so
that only the difference counts. What cannot be read or known counts against keeping.
"""

from collections.abc import Sequence
from typing import Literal

from taly.model.plan import Migration
from taly.planning.migrations.effects import Ask, effects
from taly.planning.migrations.facts import CatalogFacts, Question
from taly.planning.migrations.model import Effect, Schema
from taly.planning.migrations.statements import apply

Text = tuple[str, str | None]
"""A migration's name and its text; None when the text is not to be had."""

UNDO = ("automatic", "catalog", "data")


def classify(name: str, sql: str, catalog: CatalogFacts) -> Migration:
    """The verdict on one migration."""
    texts: list[Text] = [("", text) for text in catalog.earlier]
    [migration] = classify_all([*texts, (name, sql)], after=len(texts), catalog=catalog)
    return migration


def classify_all(
    texts: Sequence[Text], *, after: int, catalog: CatalogFacts
) -> tuple[Migration, ...]:
    """The verdicts on `texts[after:]`; those before it tell what there was.

    `catalog.earlier` is not read here; `catalog.complete` says whether `texts` starts with the
    database's first migration.
    """
    return tuple(
        _verdict(name, list(found))
        for name, found in _played(texts, after, catalog.complete, catalog.answers.get)
    )


def wanted_facts(texts: Sequence[Text], *, after: int, complete: bool) -> tuple[Question, ...]:
    """What the live catalog must be asked before these can be classified."""
    asked: dict[Question, None] = {}

    def note(question: Question) -> None:
        asked[question] = None

    for _ in _played(texts, after, complete, note):
        pass
    return tuple(asked)


def _played(
    texts: Sequence[Text], after: int, complete: bool, ask: Ask
) -> "list[tuple[str, list[Effect]]]":
    schema, out = Schema(complete=complete), []
    for number, (name, text) in enumerate(texts):
        problem = _play(schema, text)
        if number >= after:
            out.append((name, problem or list(effects(schema, ask))))
        # After a gap nothing is sure any more: what was known may have been changed in it.
        schema = Schema() if problem else schema
        schema.settle()
    return out


def _play(schema: Schema, text: str | None) -> list[Effect]:
    if text is None:
        return [Effect(breaks=True, undo="data", reason="its text is not to be had")]
    try:
        apply(schema, text)
    except ValueError as error:
        said = str(error).splitlines()[0] if str(error) else "syntax error"
        return [Effect(breaks=True, undo="data", reason=f"it does not parse: {said}")]
    return []


def _verdict(name: str, found: list[Effect]) -> Migration:
    breaking = [effect for effect in found if effect.breaks]
    undo = max((effect.undo for effect in found), key=UNDO.index, default="automatic")
    verdict: Literal["keep", "revert", "restore"] = "keep"
    if breaking:
        verdict = "restore" if any(effect.undo == "data" for effect in breaking) else "revert"
    ordered = [*breaking, *(effect for effect in found if not effect.breaks)]
    reasons = tuple(dict.fromkeys(effect.reason for effect in ordered))
    return Migration(name=name, verdict=verdict, reasons=reasons, undo=undo)
