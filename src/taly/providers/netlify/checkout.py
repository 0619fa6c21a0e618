"""Reads what Netlify's own tool leaves in a checkout."""

import tomllib
from collections.abc import Iterator
from pathlib import Path

from taly.checkout import Found, Readers, json_object, package_name, relative, text, unusable


def _netlify_link(path: Path, root: Path, stage: str) -> Iterator[Found]:
    folder, where = path.parent.parent, relative(path, root)
    try:
        site = str(json_object(path)["siteId"])
    except (OSError, ValueError, KeyError) as error:
        yield unusable(package_name(folder), "netlify", where, f"cannot be read: {error!r}")
        return
    yield Found(name=package_name(folder), provider="netlify", path=where, settings={"site": site})


def _netlify_config(path: Path, root: Path, stage: str) -> Iterator[Found]:
    if (path.parent / ".netlify" / "state.json").exists():
        return
    where = relative(path, root)
    try:
        tomllib.loads(text(path))
    except (OSError, ValueError, RecursionError) as error:
        yield unusable(package_name(path.parent), "netlify", where, f"cannot be read: {error}")
        return
    yield Found(name=package_name(path.parent), provider="netlify", path=where)


READERS: Readers = {
    ("state.json", ".netlify"): _netlify_link,
    ("netlify.toml", ""): _netlify_config,
}
