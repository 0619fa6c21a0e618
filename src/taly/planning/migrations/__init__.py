"""What each migration after the target release means for going back: keep, revert or restore.

The text is parsed with PostgreSQL's own grammar and played over what the earlier migrations made,
so that only the difference counts. What cannot be read or known counts against keeping.
"""

from collections.abc import Sequence
from typing import Literal

from taly.model.plan import Migration
from taly.planning.migrations.effects import Ask, effects
from taly.planning.migrations.facts import CatalogFacts, Question
from taly.planning.migrations.model import Effect, Schema
from taly.planning.migrations.statements import apply

__all__ = ["CatalogFacts", "Question", "Text", "classify", "classify_all", "wanted_facts"]

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
    """The verdicts on `texts[after:]`, seen by code that was made for the schema before them.

    So what one of them adds and a later one drops, or renames and renames back, does not count.

    `catalog.earlier` is not read here; `catalog.complete` says whether `texts` starts with the
    database's first migration.
    """
    return tuple(
        _verdict(name, found)
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
) -> list[tuple[str, list[Effect]]]:
    schema = Schema(complete=complete)
    before: set[Effect] = set()
    lasting: set[Effect] = set()
    out: list[tuple[str, list[Effect]]] = []
    for number, (name, text) in enumerate(texts):
        if number == after:
            schema.settle()
        problem = _play(schema, text)
        if problem is not None:
            # After a gap nothing is sure any more: what was known may have been changed in it.
            lasting |= {*before, problem}
            schema, before, found = Schema(), set(), [problem]
        elif number >= after:
            now = list(effects(schema, ask))
            found = [effect for effect in now if effect not in before]
            before = set(now)
        if number >= after:
            out.append((name, found))
    lasting |= before
    return [(name, [_seen(effect, lasting) for effect in found]) for name, found in out]


def _seen(effect: Effect, lasting: set[Effect]) -> Effect:
    """The effect, unless a later migration took it back."""
    if effect in lasting or not effect.breaks:
        return effect
    reason = f"{effect.reason} (taken back by a later migration)"
    return Effect(breaks=False, undo="automatic", reason=reason)


def _play(schema: Schema, text: str | None) -> Effect | None:
    """Play a text over the schema; an effect when that cannot be done."""
    if text is None:
        return Effect(breaks=True, undo="data", reason="its text is not to be had")
    try:
        apply(schema, text)
    except ValueError as error:
        said = str(error).splitlines()[0] if str(error) else "syntax error"
        return Effect(breaks=True, undo="data", reason=f"it does not parse: {said}")
    return None


def _verdict(name: str, found: list[Effect]) -> Migration:
    breaking = [effect for effect in found if effect.breaks]
    undo = max((effect.undo for effect in found), key=UNDO.index, default="automatic")
    verdict: Literal["keep", "revert", "restore"] = "keep"
    if breaking:
        verdict = "restore" if any(effect.undo == "data" for effect in breaking) else "revert"
    ordered = [*breaking, *(effect for effect in found if not effect.breaks)]
    reasons = tuple(dict.fromkeys(effect.reason for effect in ordered))
    return Migration(name=name, verdict=verdict, reasons=reasons, undo=undo)
