"""What was written since the backup is in the other database afterwards, whatever its type."""

import pytest
from tests.contract.carry_stage import Stage, finish, side_url, stage

from taly.database.carry import Since

__all__ = ["side_url", "stage"]

TYPES = r"""
CREATE TYPE "Status" AS ENUM ('new', 'it''s done');
CREATE DOMAIN positive AS integer CHECK (VALUE > 0);
CREATE SCHEMA "Other One";
CREATE TABLE "User" (
    "id" SERIAL PRIMARY KEY, "Full Name" TEXT NOT NULL DEFAULT '', "status" "Status",
    "price" NUMERIC, "blob" BYTEA, "tags" TEXT[], "doc" JSONB, "raw" JSON, "at" TIMESTAMPTZ,
    "ratio" DOUBLE PRECISION, "n" positive, "states" "Status"[], "spot" POINT, "gap" INTERVAL,
    "code" CHAR(5), "short" VARCHAR(7), "exact" NUMERIC(10,2), "bits" BIT(3), "ip" INET,
    "r" INT4RANGE,
    "twice" INTEGER GENERATED ALWAYS AS ("id" * 2) STORED
);
CREATE TABLE "Order" (
    "a" UUID DEFAULT gen_random_uuid(), "b" BIGINT GENERATED ALWAYS AS IDENTITY,
    "user id" INTEGER NOT NULL REFERENCES "User" ("id"), "text" TEXT, PRIMARY KEY ("a", "b")
);
CREATE TABLE keyless (x INTEGER, y TEXT);
CREATE TABLE "Other One"."odd ""name"".x" (id TIMESTAMPTZ, s "Status", v TEXT, PRIMARY KEY (id, s));
CREATE TABLE parted (k INTEGER, v TEXT, PRIMARY KEY (k)) PARTITION BY RANGE (k);
CREATE TABLE parted_1 PARTITION OF parted FOR VALUES FROM (0) TO (10);
CREATE TABLE parted_2 PARTITION OF parted DEFAULT;
INSERT INTO "User" ("Full Name") SELECT 'user ' || i FROM generate_series(1, 100) i;
INSERT INTO keyless SELECT i % 3, NULLIF(i % 2, 0)::text FROM generate_series(1, 40) i;
INSERT INTO parted SELECT i, i::text FROM generate_series(1, 30) i;
INSERT INTO "Other One"."odd ""name"".x" SELECT '2024-01-01'::timestamptz + i * '1 h'::interval,
  'new', repeat('x', i) FROM generate_series(1, 20) i;
"""
WRITES = r"""
INSERT INTO "User" ("Full Name", "status", "price", "blob", "tags", "doc", "raw", "at", "ratio",
                    "n", "states", "spot", "gap", "code", "short", "exact", "bits", "ip", "r")
  VALUES
  ('', 'new', 'NaN', '\x00ff5c0a09', '{}', '{"a": [1.0, null]}', '{"b":  2}', 'infinity', 'NaN',
   1, '{new,"it''s done"}', '(1,2)', '1 mon 2 days -3 s', 'a', 'b  ', 1.5, '101', '10.0.0.1',
   '[1,5)'),
  (E'tab\t line\n back\\slash \\N \\. \r \x7f', 'it''s done', 1.10, '', '{a,"b c",NULL,"\\"}',
   'null', '1', '-infinity', '-Infinity', 2, '{}', '(0.1,-0)', 'P1Y', '', '', 0, '000', '::1/64',
   'empty'),
  ('日本 🎉', NULL, 1e100, NULL, '{{1,2},{3,4}}', NULL, NULL, '2024-02-29 12:00:00.123456+05',
   1e-300, 3, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL),
  ('\N', 'new', -0.0, NULL, NULL, '"\u0041"', NULL, '0044-03-15 12:00:00+00 BC', '-0', 3, NULL,
   NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL);
UPDATE "User" SET "Full Name" = 'changed ' || id WHERE id BETWEEN 10 AND 19;
UPDATE "User" SET id = id + 1000 WHERE id BETWEEN 20 AND 22;
DELETE FROM "User" WHERE id BETWEEN 30 AND 34;
INSERT INTO "Order" ("user id", "text") SELECT 1, repeat(md5(i::text), 1 + i * 1000)
  FROM generate_series(1, 20) i;
UPDATE keyless SET y = NULL WHERE x = 1;
DELETE FROM keyless WHERE x = 2;
INSERT INTO keyless VALUES (7, 'x'), (7, 'x'), (NULL, NULL);
UPDATE parted SET v = 'moved', k = k + 100 WHERE k = 5;
DELETE FROM parted WHERE k IN (6, 20);
INSERT INTO parted VALUES (0, 'zero');
INSERT INTO "Other One"."odd ""name"".x"
  VALUES ('infinity', 'it''s done', ''), ('epoch', 'new', NULL);
DELETE FROM "Other One"."odd ""name"".x" WHERE id < '2024-01-01 03:30+00' AND id > '1980-01-01';
"""
TABLES = ('"User"', '"Order"', "keyless", "parted", '"Other One"."odd ""name"".x"')


@pytest.mark.parametrize("mode", ["transactions", "hashes"])
def test_every_type_and_every_kind_of_write_is_carried_over(stage: Stage, mode: str) -> None:
    stage.both(TYPES)
    stage.backed_up()
    stage.live(WRITES)
    how = {"since": None} if mode == "hashes" else {}
    done = stage.run(**how)
    for table in TABLES:
        query = f"SELECT t::text FROM {table} t ORDER BY 1"
        assert stage.side(query) == stage.live(query), table
    assert done.rescued == {}
    assert done.proof.rescued == 0
    assert stage.side("SELECT nspname FROM pg_namespace WHERE nspname ~ 'taly'") == []
    assert stage.live("SELECT nspname FROM pg_namespace WHERE nspname ~ 'taly'") == []
    assert stage.live("SELECT tgname FROM pg_trigger WHERE tgname ~ 'taly'") == []
    user = done.table("User")
    assert (user.live, user.carried, user.deleted) == (99, 17, 8)


def test_rows_of_many_megabytes(stage: Stage) -> None:
    stage.both("CREATE TABLE big (id int PRIMARY KEY, t text, b bytea)")
    stage.backed_up()
    stage.live(
        "INSERT INTO big SELECT i, repeat(md5(i::text), 160000),"
        " decode(repeat(md5(i::text), 100000), 'hex') FROM generate_series(1, 4) i"
    )
    stage.run()
    query = "SELECT id, md5(t), md5(b), length(t) FROM big ORDER BY 1"
    assert stage.side(query) == stage.live(query)


def test_edge_text_survives_as_it_is(stage: Stage) -> None:
    stage.both("CREATE TABLE t (id int PRIMARY KEY, v text)")
    stage.backed_up()
    stage.live(
        r"INSERT INTO t VALUES (1, '\N'), (2, E'\t\n\r\\'), (3, ''), (4, NULL), (5, 'NULL'),"
        r" (6, '\.'), (7, E'\u00e9\u0301'), (8, '{\"a,b\"}'), (9, E'\x01\x7f')"
    )
    stage.run()
    assert stage.side("SELECT * FROM t ORDER BY 1") == stage.live("SELECT * FROM t ORDER BY 1")


def test_columns_that_only_the_target_has_stay_with_an_updated_row(stage: Stage) -> None:
    stage.side("CREATE TABLE t (id int PRIMARY KEY, v text, old text DEFAULT 'default')")
    stage.live("CREATE TABLE t (id int PRIMARY KEY, v text)")
    stage.side("INSERT INTO t VALUES (1, 'a', 'kept'), (2, 'b', 'too')")
    stage.live("INSERT INTO t VALUES (1, 'a'), (2, 'b')")
    stage.backed_up()
    stage.live("UPDATE t SET v = 'new' WHERE id = 1; INSERT INTO t VALUES (3, 'c')")
    stage.run()
    assert stage.side("SELECT * FROM t ORDER BY 1") == [
        (1, "new", "kept"),
        (2, "b", "too"),
        (3, "c", "default"),
    ]


def test_a_backup_too_long_ago_for_its_transactions_is_compared_by_hashes(stage: Stage) -> None:
    stage.both("CREATE TABLE t (id int PRIMARY KEY, v text); INSERT INTO t VALUES (1, 'a')")
    stage.live("INSERT INTO t VALUES (2, 'b')")
    old = stage.xid() - 2**31
    done = stage.run(since=Since(xmin=old, window_end=None, snapshot=""))
    assert stage.side("SELECT * FROM t ORDER BY 1") == [(1, "a"), (2, "b")]
    assert (done.first.changes, done.first.carried) == (1, 1)


@pytest.mark.parametrize("mode", ["transactions", "hashes"])
def test_keys_that_are_equal_and_not_the_same_text(stage: Stage, mode: str) -> None:
    stage.both("CREATE TABLE t (id numeric PRIMARY KEY, v text)")
    stage.both("INSERT INTO t VALUES (1.0, 'a'), (2.0, 'b'), (3, 'c')")
    stage.backed_up()
    stage.live("UPDATE t SET id = 1.00 WHERE id = 1; UPDATE t SET id = 3.0, v = 'd' WHERE id = 3")
    with stage.carry(**({"since": None} if mode == "hashes" else {})) as (carry, bundle):
        first = carry.first_pass()
        stage.live("UPDATE t SET id = 2.000 WHERE id = 2; UPDATE t SET id = 1.000 WHERE id = 1")
        done = finish(carry, bundle, first)
    query = "SELECT id::text, v FROM t ORDER BY 1"
    assert stage.side(query) == stage.live(query)
    assert done.rescued == {}
    assert done.table("t").rows == 3
