"""Content ids: a hash of a *set* of members that can be kept up to date one change at a time."""

from collections.abc import Mapping, Sequence
from hashlib import sha256

PRIME = 2**127 - 1


def weights(component: str, deployment_ids: Sequence[str]) -> list[int]:
    """What each of a component's deployments adds to the sum when it is the member.

    A linear hash over a prime field, each component with a pseudo-random factor of its own: two
    different sets collide with a chance of 2^-127. It costs a third of a cryptographic hash, and a
    million deployments have to be read in a second. Sums may be added and subtracted at will.
    """
    factor = int.from_bytes(sha256(component.encode()).digest()[:16]) % PRIME or 1
    return list(map(factor.__mul__, map(int.from_bytes, _encoded(deployment_ids))))


def _encoded(texts: Sequence[str]) -> list[bytes]:
    try:
        return list(map(str.encode, texts))
    except UnicodeEncodeError:  # a lone surrogate: odd, but an id like any other
        return [text.encode("utf-8", "surrogatepass") for text in texts]


def content_id(total: int) -> str:
    """The content id of the set whose members' weights add up to this."""
    return f"{total % PRIME:032x}"


def content_id_of(members: Mapping[str, str]) -> str:
    """The content id of these members: component → deployment id."""
    return content_id(sum(weights(name, [id_])[0] for name, id_ in members.items()))
