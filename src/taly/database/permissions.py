"""What each command needs of PostgreSQL."""

from taly.model.permissions import Needs, Right

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

NEEDS = Needs(rights=RIGHTS)
