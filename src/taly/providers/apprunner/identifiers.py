"""Image identifiers (`repo:tag`, `repo@sha256:…`, `repo:tag@sha256:…`) and what tags say."""

import re
from collections.abc import Iterable
from dataclasses import dataclass

OWN_TAG = "taly-rollback-"
"""Tags that taly puts on an image where App Runner refuses digests; unique to one digest."""
_REGISTRY = re.compile(r"(\d{12})\.dkr\.ecr\b")
_COMMIT = re.compile(r"(?:^|[-_.])([0-9a-f]{7,40})$")
_DATE = re.compile(r"(?:19|20)\d{6}(?:\d{6})?")


@dataclass(frozen=True, slots=True, kw_only=True)
class Identifier:
    """An image identifier, taken apart."""

    repository: str
    """The repository's URI."""
    tag: str = ""
    digest: str = ""

    def __str__(self) -> str:
        return self.repository + (f"@{self.digest}" if self.digest else f":{self.tag}")

    @property
    def in_ecr(self) -> dict[str, str]:
        """What names the repository in ECR's requests: its name, and the account that has it.

        Without the account ECR looks in the caller's own, where the same name is another image.
        """
        host, _, name = self.repository.partition("/")
        registry = _REGISTRY.match(host)
        return {"repositoryName": name} | ({"registryId": registry[1]} if registry else {})


def parse_identifier(text: str) -> Identifier:
    """Take an identifier apart; no tag and no digest means `latest`, as for Docker."""
    rest, _, digest = text.partition("@")
    host, slash, path = rest.rpartition("/")
    path, _, tag = path.partition(":")
    tag = "" if digest else tag or "latest"
    return Identifier(repository=f"{host}{slash}{path}", tag=tag, digest=digest)


def by_digest(repository: str, digest: str) -> str:
    """The identifier that can never mean another image."""
    return f"{repository}@{digest}"


def follows_tag(identifier: Identifier) -> bool:
    """Whether a push can change what it means: a tag does, unless it is taly's own."""
    return bool(identifier.tag) and not identifier.tag.startswith(OWN_TAG)


def own_tag(digest: str) -> str:
    """The tag that taly gives an image which cannot be deployed by digest."""
    return OWN_TAG + digest.removeprefix("sha256:")[:12]


def canonical(text: str, digest: str) -> str:
    """The identifier as taly's states hold it: our own tag of an image is written as its digest."""
    parsed = parse_identifier(text)
    if digest and parsed.tag == own_tag(digest):
        return by_digest(parsed.repository, digest)
    return text


def commit_of(tags: Iterable[str]) -> str:
    """The git commit that one of the tags names; empty if none does. Dates are no commits."""
    found = [match[1] for tag in tags if (match := _COMMIT.search(tag))]
    commits = [commit for commit in found if not _DATE.fullmatch(commit)]
    return max(commits, key=len, default="")


def short_digest(digest: str) -> str:
    """`sha256:9f2c41d0…` for a person."""
    return f"{digest[:15]}…" if len(digest) > 15 else digest
