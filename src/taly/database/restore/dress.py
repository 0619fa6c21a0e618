"""What belongs to a database as a whole, and is in no dump of it and in no copy.

Owner, privileges, settings (also of a role in this database), connection limit, comment.
"""

from collections.abc import Iterator

import psycopg
from psycopg.sql import SQL, Composed, Identifier, Literal

from taly.database.checkpoint.session import connected
from taly.database.restore.fence import Fence
from taly.database.restore.job import Job

FACTS = """
SELECT r.rolname, d.datconnlimit, shobj_description(d.oid, 'pg_database'), d.datacl IS NOT NULL
FROM pg_database d JOIN pg_roles r ON r.oid = d.datdba WHERE d.datname = %s
"""
GRANTS = """
SELECT CASE a.grantee WHEN 0 THEN NULL ELSE r.rolname END, a.privilege_type, a.is_grantable
FROM pg_database d CROSS JOIN aclexplode(d.datacl) WITH ORDINALITY
  a (grantor, grantee, privilege_type, is_grantable, number)
  LEFT JOIN pg_roles r ON r.oid = a.grantee
WHERE d.datname = %s AND (a.grantee = 0 OR r.oid IS NOT NULL) ORDER BY a.number
"""
SETTINGS = """
SELECT r.rolname, split_part(one, '=', 1), substr(one, strpos(one, '=') + 1)
FROM pg_db_role_setting s JOIN pg_database d ON d.oid = s.setdatabase
  LEFT JOIN pg_roles r ON r.oid = s.setrole CROSS JOIN unnest(s.setconfig) one
WHERE d.datname = %s AND (s.setrole = 0 OR r.oid IS NOT NULL) ORDER BY 1 NULLS FIRST, 2
"""
LISTS = (
    *("local_preload_libraries", "search_path", "session_preload_libraries"),
    *("shared_preload_libraries", "temp_tablespaces", "unix_socket_directories"),
)
"""Settings whose value is a list that was quoted already: as one literal it would be one name."""


def dress(job: Job, fence: Fence) -> tuple[str, ...]:
    """Give the side database what the live one has; returns what could not be set."""
    notes: list[str] = []
    maintenance = job.place(fence.database)
    with connected(maintenance, autocommit=True) as session:
        for before, statement in _statements(job, fence):
            try:
                with session.transaction():
                    if before is not None:
                        session.execute("SELECT set_config(%s, %s, true)", before)
                    session.execute(statement)
            except (psycopg.errors.InsufficientPrivilege, psycopg.errors.DataError) as error:
                notes.append(f"{error.diag.message_primary}: {statement.as_string(session)}")
    return tuple(notes)


Statement = tuple[tuple[str, str] | None, Composed]
"""A setting that is made first, and the statement."""


def _statements(job: Job, fence: Fence) -> Iterator[Statement]:
    side = Identifier(job.side)
    ((owner, limit, comment, has_grants),) = fence.rows(FACTS, (job.database,))
    yield None, SQL("ALTER DATABASE {} OWNER TO {}").format(side, Identifier(owner))
    if has_grants:
        yield None, SQL("REVOKE ALL ON DATABASE {} FROM PUBLIC, {}").format(side, Identifier(owner))
    for grantee, privilege, is_grantable in fence.rows(GRANTS, (job.database,)):
        yield (
            None,
            SQL("GRANT {} ON DATABASE {} TO {}{}").format(
                SQL(privilege),
                side,
                SQL("PUBLIC") if grantee is None else Identifier(grantee),
                SQL(" WITH GRANT OPTION" if is_grantable else ""),
            ),
        )
    for role, name, value in fence.rows(SETTINGS, (job.database,)):
        yield _setting(side, role, name, value)
    if limit != -1:
        yield None, SQL("ALTER DATABASE {} CONNECTION LIMIT {}").format(side, Literal(limit))
    if comment is not None:
        yield None, SQL("COMMENT ON DATABASE {} IS {}").format(side, Literal(comment))


def _setting(side: Identifier, role: str | None, name: str, value: str) -> Statement:
    whose = (
        SQL("ALTER DATABASE {}").format(side)
        if role is None
        else SQL("ALTER ROLE {} IN DATABASE {}").format(Identifier(role), side)
    )
    key = SQL(".").join(Identifier(part) for part in name.split("."))
    if name in LISTS:
        return (name, value), SQL("{} SET {} FROM CURRENT").format(whose, key)
    return None, SQL("{} SET {} TO {}").format(whose, key, Literal(value))
