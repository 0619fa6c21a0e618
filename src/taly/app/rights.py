"""What Netlify, Vercel and PostgreSQL must allow: data, for `taly permissions`."""

from dataclasses import dataclass


@dataclass(frozen=True, slots=True, kw_only=True)
class Token:
    """The credentials of one vendor."""

    provider: str
    variable: str
    """The environment variable that holds it."""
    read: str
    """What it must be able to do for `taly status` and `taly plan`."""
    write: str
    """What besides for a rollback."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Right:
    """What one command needs of PostgreSQL."""

    needed_for: str
    rights: str


TOKENS = (
    Token(
        provider="netlify",
        variable="NETLIFY_AUTH_TOKEN",
        read="a personal access token of a user who sees the site: Netlify's tokens have no scopes",
        write="its user may publish, lock and cancel deploys of the site",
    ),
    Token(
        provider="vercel",
        variable="VERCEL_TOKEN",
        read="a token whose scope is the team that owns the project (`team`), or your own account",
        write="its user's role may roll back and promote to production, and change the project",
    ),
)

RIGHTS = (
    Right(
        needed_for="taly status, taly plan, the verdict",
        rights="CONNECT, USAGE on the schema, and SELECT on _prisma_migrations and on the tables "
        "whose rows a migration depends on",
    ),
    Right(
        needed_for="rows written since, in the plan",
        rights="SELECT on the tables; those it may not read are left out",
    ),
    Right(
        needed_for="taly checkpoint",
        rights="GRANT pg_read_all_data; to try out ways down also CREATEDB; for a template copy "
        "it owns the database",
    ),
    Right(needed_for="keep", rights="nothing"),
    Right(
        needed_for="revert, and its undo",
        rights="what prisma migrate deploy needs: it owns the tables, or is a member of their "
        "owner; without a checkpoint also CREATEDB, to replay the migrations on an empty database",
    ),
    Right(
        needed_for="restore, and its undo",
        rights="it owns the database and its tables, CREATEDB (a rename needs it as a copy does), "
        "GRANT SET ON PARAMETER session_replication_role (PostgreSQL 15 and later; before that a "
        "superuser), and pg_signal_backend where other users are connected",
    ),
    Right(needed_for="taly forget", rights="it owns the database that was put aside"),
)
