"""A Dockerfile in a checkout may be an App Runner service's."""

from collections.abc import Iterator
from pathlib import Path

from taly.checkout import Found, Readers, package_name, relative


def _dockerfile(path: Path, root: Path, stage: str) -> Iterator[Found]:
    yield Found(name=package_name(path.parent), provider="apprunner", path=relative(path, root))


READERS: Readers = {("Dockerfile", ""): _dockerfile}
