"""What happens to each table's rows, in a sentence for the plan."""

from collections.abc import Sequence

from taly.planning.carry.columns import shown
from taly.planning.carry.model import Correspondence, TablePair


def describe(correspondence: Correspondence) -> tuple[str, ...]:
    """One sentence a table of which there is something to say, then the notes."""
    sentences = [text for pair in correspondence.tables if (text := _table(pair))]
    sentences += [
        f"{shown(one.table)}: the other schema has no such table; all its rows go to the "
        "rescue bundle"
        for one in correspondence.only_source
    ]
    sentences += [
        f"{shown(name)}: comes back as the backup has it" for name in correspondence.only_target
    ]
    return (*sentences, *correspondence.notes)


def _table(pair: TablePair) -> str:
    said = []
    if pair.source != pair.target:
        said.append(f"is called {shown(pair.target)} there")
    renamed = [f"{one.source} as {one.target}" for one in pair.columns if one.how == "renamed"]
    if renamed:
        said.append(f"carries {_listed(renamed)}")
    for how, words in (("retyped", "converts"), ("hinted", "reads by your hints")):
        found = [one.target for one in pair.columns if one.how == how]
        if found:
            said.append(f"{words} {_listed(found)}")
    if pair.split:
        said.append(f"splits off {_listed([one.name for one in pair.split])} to the rescue bundle")
    optional = [name for name in pair.kept if name not in pair.required]
    if optional:
        said.append(f"keeps {_listed(optional)} as it was, new rows get the default")
    if pair.required:
        said.append(f"has no value for {_listed(pair.required)}, so new rows go to the bundle")
    if not pair.key:
        said.append("has no key that both schemas share, so it is compared as a whole")
    return f"{shown(pair.source)}: {'; '.join(said)}" if said else ""


def _listed(names: Sequence[str]) -> str:
    return ", ".join(names)
