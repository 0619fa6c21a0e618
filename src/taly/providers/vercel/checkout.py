"""Reads what Vercel's own tool leaves in a checkout."""

from collections.abc import Iterator
from pathlib import Path

from taly.checkout import Found, Readers, json_object, package_name, relative, unusable


def _vercel_link(path: Path, root: Path, stage: str) -> Iterator[Found]:
    folder, where = path.parent.parent, relative(path, root)
    try:
        link = json_object(path)
        project, team = str(link["projectId"]), str(link.get("orgId", ""))
    except (OSError, ValueError, KeyError) as error:
        yield unusable(package_name(folder), "vercel", where, f"cannot be read: {error!r}")
        return
    settings = {"project": project}
    if team.startswith("team_"):
        settings["team"] = team
    yield Found(name=package_name(folder), provider="vercel", path=where, settings=settings)


def _vercel_config(path: Path, root: Path, stage: str) -> Iterator[Found]:
    if (path.parent / ".vercel" / "project.json").exists():
        return
    yield Found(name=package_name(path.parent), provider="vercel", path=relative(path, root))


READERS: Readers = {
    ("project.json", ".vercel"): _vercel_link,
    ("vercel.json", ""): _vercel_config,
}
