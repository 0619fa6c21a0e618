"""Who may do what on RDS: nobody who is let in is a superuser.

https://docs.aws.amazon.com/AmazonRDS/latest/UserGuide/Appendix.PostgreSQL.CommonDBATasks.Roles.html
"""

from urllib.parse import urlsplit

import psycopg
from psycopg.sql import SQL, Identifier, Literal

ADMIN = "rds_superuser"
MASTER = "master"
MEMBER_OF = ("pg_monitor", "pg_signal_backend")
SINCE_15 = "GRANT SET ON PARAMETER session_replication_role TO rds_superuser"


def make_master(url: str, password: str) -> str:
    """Give a new server's database to a master user as RDS makes one; returns that user's URL.

    The superuser stays, as `rdsadmin` does: nobody else gets its password.
    """
    parts = urlsplit(url)
    database = parts.path.strip("/")
    with psycopg.connect(url, autocommit=True) as session:
        session.execute(SQL("CREATE ROLE {} NOLOGIN CREATEDB CREATEROLE").format(Identifier(ADMIN)))
        for role in MEMBER_OF:
            session.execute(SQL("GRANT {} TO {}").format(Identifier(role), Identifier(ADMIN)))
        if session.info.server_version >= 150_000:
            session.execute(SINCE_15)
        session.execute(
            SQL("CREATE ROLE {} LOGIN CREATEDB CREATEROLE PASSWORD {} IN ROLE {}").format(
                Identifier(MASTER), Literal(password), Identifier(ADMIN)
            )
        )
        session.execute(
            SQL("ALTER DATABASE {} OWNER TO {}").format(Identifier(database), Identifier(MASTER))
        )
        if session.info.server_version < 150_000:
            session.execute(SQL("GRANT ALL ON SCHEMA public TO {}").format(Identifier(MASTER)))
    return parts._replace(netloc=f"{MASTER}:{password}@{parts.hostname}:{parts.port}").geturl()
