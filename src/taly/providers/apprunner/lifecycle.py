"""When ECR's lifecycle policy will delete an image. Pure.

Amazon ECR user guide, "Lifecycle policy parameters": rules by priority, counted from the push.
Rules that count images cannot be foretold from one look, so only those by age are.
"""

import json
from collections.abc import Mapping
from datetime import datetime, timedelta
from fnmatch import fnmatchcase
from typing import Any

from taly.providers.apprunner.facts import Image


def expires_at(policy: str, image: Image) -> datetime | None:
    """When the first fitting rule by age expires it; None if none does, or it cannot be read."""
    if not policy or image.pushed_at is None:
        return None
    for rule in _rules(policy):
        selection = rule.get("selection", {})
        expire = rule.get("action", {}).get("type") == "expire"
        if expire and _fits(selection, image):
            if selection.get("countType") != "sinceImagePushed":
                return None  # an image is only ever matched by its first fitting rule
            return image.pushed_at + timedelta(days=int(selection.get("countNumber", 0)))
    return None


def _rules(policy: str) -> list[Mapping[str, Any]]:
    try:
        rules = json.loads(policy).get("rules", [])
    except ValueError:
        return []
    return sorted(rules, key=lambda rule: rule.get("rulePriority", 0))


def _fits(selection: Mapping[str, Any], image: Image) -> bool:
    match selection.get("tagStatus"):
        case "any":
            return True
        case "untagged":
            return not image.tags
        case _:
            prefixes = selection.get("tagPrefixList", ())
            patterns = [*selection.get("tagPatternList", ()), *(f"{one}*" for one in prefixes)]
            return any(fnmatchcase(tag, pattern) for tag in image.tags for pattern in patterns)
