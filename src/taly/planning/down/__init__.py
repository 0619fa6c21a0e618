"""The way down of a migration: the team's own, or worked out from its statements.

A migration is played over the catalog from before it; what then differs is taken back. So a thing
made and dropped within one migration needs nothing, and definitions come from the catalog.
"""

from taly.model.catalog import Catalog
from taly.planning.down.between import between
from taly.planning.down.mirror import Mirror
from taly.planning.down.model import Down, Guard, Save
from taly.planning.down.play import play

__all__ = ["Down", "Guard", "Save", "derive", "team"]


def derive(
    name: str,
    sql: str,
    before: Catalog | None,
    *,
    schema: str = "public",
    after: Catalog | None = None,
) -> Down:
    """The way down of one migration.

    `before` is the catalog that the migration was or will be run on; without it renames and
    additions can be taken back, and every definition that is missing is a gap. `schema` is where
    names without one lie. `after`, of the same database, says what the migration really made of
    it: then DO blocks hide nothing of the schema.
    """
    mirror = Mirror.of(before, schema)
    try:
        play(mirror, sql)
    except ValueError as error:
        said = str(error).splitlines()[0] if str(error) else "syntax error"
        return Down(name=name, source="derived", gaps=(f"it does not parse: {said}",))
    old, new = mirror.catalogs(before)
    way = between(old, new if after is None else after, mirror.concurrent)
    statements = (*way.statements,)
    afterwards = (*way.afterwards,)
    return Down(
        name=name,
        source="derived",
        statements=statements,
        afterwards=afterwards,
        gaps=tuple(dict.fromkeys([*mirror.gaps, *way.gaps])),
        data=tuple(mirror.saves),
        loses=tuple(dict.fromkeys(way.loses)),
        guards=tuple(Guard(query=query, text=text) for query, text in way.guards),
        transactional=not any("INDEX CONCURRENTLY" in text for text in statements + afterwards),
    )


def team(name: str, sql: str, up: str, before: Catalog | None, *, schema: str = "public") -> Down:
    """The team's own down.sql: it wins; what must be saved and what is lost is still worked out."""
    worked_out = derive(name, up, before, schema=schema)
    return Down(
        name=name,
        source="team",
        statements=(sql,),
        data=worked_out.data,
        loses=worked_out.loses,
        transactional="concurrently" not in sql.lower(),
    )
