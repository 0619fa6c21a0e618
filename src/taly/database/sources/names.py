"""What is made in RDS, and what is written on it: by both we know it again."""

import hashlib
import re

TAG = "taly-run"
"""Tag of everything that taly makes there; the value says for whom."""
MAX_INSTANCE = 63
MAX_SNAPSHOT = 255


def instance_name(work: str) -> str:
    """The temporary instance of one piece of work, always the same for it."""
    return _named(f"taly-{work}", MAX_INSTANCE)


def snapshot_name(instance: str, component: str, checkpoint: str) -> str:
    """The snapshot of a checkpoint.

    Two databases of an instance, and two instances of an account, may have one of the same name.
    """
    return _named(f"taly-{instance}-{component}-{checkpoint}", MAX_SNAPSHOT)


def _named(text: str, size: int) -> str:
    """RDS takes letters, digits and single hyphens, in any case, and keeps them in lower case."""
    name = re.sub(r"[^a-z0-9]+", "-", text.lower()).strip("-")
    if len(name) <= size:
        return name
    mark = hashlib.sha256(text.encode()).hexdigest()[:8]
    return f"{name[: size - 9].rstrip('-')}-{mark}"
