"""Matches what a checkout holds with what the vendors have. Pure: data in, data out."""

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace

from taly.checkout import Found
from taly.providers.inventory import Listed

PRODUCTION = ("prod", "production", "live", "main")
FRONTENDS = ("vercel", "netlify")


@dataclass(frozen=True, slots=True, kw_only=True)
class Matched:
    """A component to be: what to write, and why we think so."""

    name: str
    provider: str
    settings: Mapping[str, str]
    why: str
    url: str = ""
    after: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class LeftOut:
    """Something found that did not become a component, and why."""

    what: str
    why: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Question:
    """A choice that only the user can make."""

    found: Found
    text: str
    choices: tuple[Listed, ...]


@dataclass(slots=True)
class Match:
    """The outcome: components, things left out, questions."""

    components: list[Matched] = field(default_factory=list)
    left_out: list[LeftOut] = field(default_factory=list)
    questions: list[Question] = field(default_factory=list)


def match(
    found: Sequence[Found], listed: Sequence[Listed], unreachable: Mapping[str, str]
) -> Match:
    """Join both sides; `unreachable` names the vendors that could not be listed, and why."""
    result = Match()
    used: set[tuple[str, str]] = set()
    for item in found:
        if item.unusable:
            result.left_out.append(LeftOut(what=item.path, why=item.unusable))
        elif item.provider == "postgres":
            result.components.append(_as_is(item, "found in the checkout"))
        elif item.provider in unreachable:
            _without_vendor(item, unreachable[item.provider], result)
        else:
            _one(item, [entry for entry in listed if entry.provider == item.provider], result, used)
    for entry in listed:
        if (entry.provider, entry.name) not in used and not _asked(entry, result):
            why = "at the vendor, and nothing in the checkout speaks of it"
            result.left_out.append(LeftOut(what=f"{entry.provider} {entry.name}", why=why))
    result.components = _ordered(_distinct(result.components))
    return result


def _one(item: Found, entries: Sequence[Listed], result: Match, used: set[tuple[str, str]]) -> None:
    choices = _candidates(item, entries)
    if len(choices) == 1:
        used.add((item.provider, choices[0].name))
        result.components.append(_joined(item, choices[0]))
    elif choices:
        text = f"{item.path}: which {item.provider} deployment is it?"
        result.questions.append(Question(found=item, text=text, choices=tuple(choices)))
    else:
        why = f"nothing at {item.provider} under the present credentials looks like it"
        result.left_out.append(LeftOut(what=f"{item.path} ({item.name})", why=why))


def _candidates(item: Found, entries: Sequence[Listed]) -> list[Listed]:
    if item.provider == "serverless":
        return _stacks(item, entries)
    wanted = {value for key, value in item.settings.items() if key in ("project", "site")}
    if wanted:
        return [entry for entry in entries if wanted & set(entry.ids)]
    exact = [entry for entry in entries if _same(item.name, entry.name)]
    return exact or [entry for entry in entries if _alike(item.name, entry.name)]


def _stacks(item: Found, entries: Sequence[Listed]) -> list[Listed]:
    stack, stage = item.settings.get("stack", ""), item.settings.get("stage", "")
    service = item.settings["service"]
    exact = stack or (f"{service}-{stage}" if stage else "")
    hit = [entry for entry in entries if entry.name == exact]
    if hit or exact == stack != "":
        return hit
    prefixed = [entry for entry in entries if entry.name.startswith(f"{service}-")]
    stages = {entry.name.removeprefix(f"{service}-"): entry for entry in prefixed}
    production = [stages[name] for name in PRODUCTION if name in stages]
    return production[:1] or prefixed


def _joined(item: Found, entry: Listed) -> Matched:
    settings = {**item.settings, **entry.settings}
    if item.provider == "serverless" and not settings.get("stack"):
        settings["stage"] = entry.name.removeprefix(f"{settings['service']}-")
    why = f"{item.path}, and {entry.name} at {item.provider}"
    return Matched(
        name=_key(item.name), provider=item.provider, settings=settings, why=why, url=entry.url
    )


def answered(question: Question, choice: Listed) -> Matched:
    """The component that the user's answer makes."""
    return _joined(question.found, choice)


def _as_is(item: Found, why: str) -> Matched:
    return Matched(name=_key(item.name), provider=item.provider, settings=item.settings, why=why)


def _without_vendor(item: Found, reason: str, result: Match) -> None:
    needed = {"vercel": "project", "netlify": "site", "serverless": "stage"}.get(item.provider)
    if needed and needed in item.settings:
        result.components.append(_as_is(item, f"{item.path}; not checked: {reason}"))
    else:
        why = f"{item.provider} could not be asked: {reason}"
        result.left_out.append(LeftOut(what=item.path, why=why))


def _asked(entry: Listed, result: Match) -> bool:
    return any(entry in question.choices for question in result.questions)


def _distinct(components: Sequence[Matched]) -> list[Matched]:
    """One component an address, and a name of its own for each."""
    seen: dict[tuple[str, tuple[tuple[str, str], ...]], Matched] = {}
    for component in components:
        seen.setdefault((component.provider, tuple(sorted(component.settings.items()))), component)
    names: dict[str, int] = {}
    out = []
    for component in seen.values():
        count = names[component.name] = names.get(component.name, 0) + 1
        name = component.name if count == 1 else f"{component.name}-{count}"
        out.append(replace(component, name=name))
    return out


def _ordered(components: Sequence[Matched]) -> list[Matched]:
    """In deploy order, with `after` as the usual dependency: database, code, frontends."""
    tiers: list[list[Matched]] = [[], [], []]
    for component in components:
        tier = (
            0 if component.provider == "postgres" else 2 if component.provider in FRONTENDS else 1
        )
        tiers[tier].append(component)
    out: list[Matched] = []
    before: tuple[str, ...] = ()
    for members in tiers:
        out += [replace(member, after=before) for member in members]
        before = tuple(member.name for member in members) or before
    return out


def _key(name: str) -> str:
    return re.sub(r"[^A-Za-z0-9_-]+", "-", name).strip("-") or "component"


def _words(name: str) -> str:
    return re.sub(r"[^a-z0-9]+", "-", name.lower()).strip("-")


def _same(one: str, other: str) -> bool:
    return _words(one) == _words(other)


def _alike(one: str, other: str) -> bool:
    """`backend` and `taly-backend`: one name ends or starts with the other, at a word's edge."""
    short, long = sorted((_words(one), _words(other)), key=len)
    return bool(short) and (long.endswith(f"-{short}") or long.startswith(f"{short}-"))
