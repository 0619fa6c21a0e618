"""What corresponds to what between two schemas, kind by kind."""

from dataclasses import replace

import pytest
from tests.unit.carry_stage import (
    ID,
    KEY,
    back,
    by_name,
    catalog,
    column,
    forth,
    matched,
    of,
    table,
    unique,
)

from taly.model.catalog import Catalog, Column, Constraint, Other, Table
from taly.planning.carry import Extra, SplitColumn, correspond, describe, pairs

OLD = catalog(table(column("name")))


def test_equal_schemas_need_no_word() -> None:
    there = back(OLD, OLD)
    assert [one.how for one in of(there).columns] == ["same", "same"]
    assert of(there).key == of(there).columns[:1]
    assert by_name(there)["name"].expression == '(s."name")::text'
    assert describe(there) == ()


def test_a_rename_that_numbers_prove_needs_no_yes() -> None:
    there = back(OLD, catalog(table(column("full_name"))))
    found = by_name(there)["name"]
    assert (found.source, found.how, found.expression) == (
        "full_name",
        "renamed",
        '(s."full_name")::text',
    )
    assert there.conversions == ()
    assert of(there).split == ()
    assert of(there).kept == ()


def test_a_rename_is_never_guessed() -> None:
    """Drop and add of alike columns: one is split off, the other kept."""
    there = back(OLD, catalog(table(column("full_name", attnum=3))))
    assert [one.name for one in of(there).split] == ["full_name"]
    assert of(there).kept == ("name",)


def test_a_renamed_table_is_followed() -> None:
    there = back(OLD, catalog(table(column("name"), name="people")))
    assert (of(there).source, of(there).target) == (("public", "people"), ("public", "t"))
    assert describe(there) == ("people: is called t there",)


def test_a_table_made_anew_under_the_old_name_is_another_one() -> None:
    there = back(OLD, catalog(table(column("name"), oid=2)))
    assert there.tables == ()
    assert there.only_source == (
        Extra(
            table=("public", "t"),
            columns=(
                SplitColumn(name="id", type="integer"),
                SplitColumn(name="name", type="text"),
            ),
            key=("id",),
        ),
    )
    assert there.only_target == (("public", "t"),)


def test_added_and_dropped_columns() -> None:
    old = catalog(
        table(
            column("must", attnum=3, not_null=True),
            column("may", attnum=4),
            column("has", attnum=5, not_null=True, default="0"),
        )
    )
    new = catalog(
        table(
            column("one", attnum=6, default="'x'::text"),
            column("two", attnum=7, default="now()"),
            column("three", attnum=8, default="('now'::text)::timestamp without time zone"),
            column("four", attnum=9, default="ARRAY['a'::text]"),
        )
    )
    found = of(back(old, new))
    assert found.kept == ("must", "may", "has")
    assert found.required == ("must",)
    assert [(one.name, one.default) for one in found.split] == [
        ("one", "'x'::text"),
        ("two", ""),
        ("three", ""),
        ("four", "ARRAY['a'::text]"),
    ]


def test_generated_columns_are_never_written() -> None:
    made = column("twice", "integer", generated="stored", default="id * 2")
    there = back(catalog(table(made)), catalog(table(made)))
    assert [one.target for one in of(there).columns] == ["id"]
    assert of(there).split == ()
    assert of(there).kept == ()
    # What was generated and is an ordinary column now may hold anything.
    plain = column("twice", "integer")
    assert [one.name for one in of(back(catalog(table(made)), catalog(table(plain)))).split] == [
        "twice"
    ]
    assert by_name(forth(catalog(table(made)), catalog(table(plain))))["twice"].how == "same"


def test_identity_always_is_noted_where_it_is_written() -> None:
    always = replace(ID, identity="always")
    with_it = catalog(replace(table(), columns=(always,)))
    assert of(back(with_it, with_it)).always_identity
    assert not of(back(OLD, OLD)).always_identity


PARENT = Table(schema="public", name="p", oid=3, columns=(ID,), kind="partitioned", bound="RANGE")
PART = Table(
    schema="public", name="p1", oid=4, columns=(ID,), parents=("public.p",), bound="DEFAULT"
)
HEIR = Table(schema="public", name="h", oid=5, columns=(ID,), parents=("public.t",))
FAR = Table(schema="public", name="f", oid=6, columns=(ID,), kind="foreign")


def test_partitions_go_through_their_root() -> None:
    schema = catalog(PARENT, PART)
    there = back(schema, schema)
    assert [one.target[1] for one in there.tables] == ["p"]
    assert (there.only_source, there.only_target, there.gaps) == ((), (), ())
    alone = replace(PART, parents=(), bound="")
    assert "partition" in back(schema, catalog(PARENT, alone)).gaps[0]


def test_heirs_are_carried_by_themselves() -> None:
    schema = catalog(table(), HEIR)
    there = back(schema, schema)
    assert [(one.target[1], one.only) for one in there.tables] == [("t", True), ("h", False)]


def test_foreign_tables_are_left_out_with_a_word() -> None:
    there = back(catalog(FAR), catalog(FAR))
    assert there.tables == ()
    assert there.gaps == ()
    assert "foreign table" in there.notes[0]
    assert describe(there) == there.notes


def test_a_table_without_a_common_column_is_a_gap() -> None:
    other = replace(table(), columns=(column("x", attnum=7),), constraints=())
    assert "no column in common" in back(OLD, catalog(other)).gaps[0]
    bare = catalog(replace(table(), columns=(), constraints=()))
    assert back(bare, bare).gaps == ()


A = column("a", attnum=2, not_null=True)
B = column("b", attnum=3, not_null=True)
TWO = Constraint(name="u", oid=7, kind="unique", definition="UNIQUE (b, a) INCLUDE (c)")


@pytest.mark.parametrize(
    ("old", "new", "key"),
    [
        (table(A), table(A), ("id",)),
        (table(A), replace(table(A), columns=(replace(ID, type="bigint"), A)), ()),
        (
            replace(table(A), indexes=(unique("a"),)),
            replace(table(A), columns=(replace(ID, type="bigint"), A), indexes=(unique("a"),)),
            ("a",),
        ),
        (table(A, B, constraints=(TWO,)), table(A, B, constraints=(TWO,)), ("b", "a")),
        (
            table(A, replace(B, not_null=False), constraints=(TWO,)),
            table(A, replace(B, not_null=False), constraints=(TWO,)),
            (),
        ),
        *(
            (
                replace(table(A, constraints=()), indexes=(index,)),
                replace(table(A, constraints=()), indexes=(index,)),
                (),
            )
            for index in (
                unique("a", where="(b > 1)"),
                unique("lower(a)"),
                replace(unique("a"), valid=False),
                replace(unique("a"), unique=False),
            )
        ),
        # What is unique on one side only finds no row on the other.
        (replace(table(A, constraints=()), indexes=(unique("a"),)), table(A, constraints=()), ()),
    ],
)
def test_the_key(old: Table, new: Table, key: tuple[str, ...]) -> None:
    found = of(back(catalog(old), catalog(new)))
    assert tuple(one.target for one in found.key) == key
    if not key:
        assert "compared as a whole" in describe(back(catalog(old), catalog(new)))[0]


def test_a_renamed_key_is_a_key() -> None:
    renamed = replace(KEY, definition="PRIMARY KEY (nr)")
    new = replace(table(constraints=(renamed,)), columns=(replace(ID, name="nr"),))
    [key] = of(back(catalog(table()), catalog(new))).key
    assert (key.source, key.target) == ("nr", "id")


def test_an_undo_swaps_the_sides() -> None:
    old = catalog(table(column("a"), column("gone", attnum=3)))
    new = catalog(table(column("b"), column("more", attnum=4), name="u"))
    one, other = of(back(old, new)), of(forth(old, new))
    assert (one.source, one.target) == (other.target, other.source)
    assert {(pair.source, pair.target) for pair in one.columns} == {
        (pair.target, pair.source) for pair in other.columns
    }
    assert [split.name for split in one.split] == list(other.kept) == ["more"]
    assert [split.name for split in other.split] == list(one.kept) == ["gone"]


def test_a_lossy_retype_asks_and_says_how_to_answer() -> None:
    old = catalog(table(column("price", "numeric(10,2)")))
    new = catalog(table(column("cents", "integer")))
    [said] = back(old, new).conversions
    assert said == (
        't.cents (integer) was "price" (numeric(10,2)): values are cast; '
        'say how they read back with transform for "t.price" in taly.toml'
    )
    [said] = forth(old, new).conversions
    assert said == 't.price (numeric(10,2)) becomes "cents" (integer): values are cast'


@pytest.mark.parametrize(
    ("old", "new", "asks"),
    [
        ("character varying(200)", "text", False),
        ("integer", "bigint", False),
        ("bigint", "integer", False),
        ("numeric(10,2)", "numeric(12,4)", False),
        ("numeric(10,4)", "numeric(12,2)", True),
        ("integer", "numeric(10,2)", False),
        ("numeric(10,2)", "integer", True),
        ("text", "integer", True),
        ("integer", "text", False),
        ("real", "double precision", False),
        ("double precision", "real", True),
        ("date", "timestamp without time zone", False),
        ("timestamp without time zone", "date", True),
        ("timestamp without time zone", "timestamp with time zone", True),
        ("jsonb", "json", False),
        ("json", "jsonb", True),
        ("boolean", "integer", True),
        ("integer[]", "bigint[]", False),
        ("integer[]", "integer", True),
        ("uuid", "text", False),
        ("text", "uuid", True),
    ],
)
def test_which_retypes_need_a_yes(old: str, new: str, *, asks: bool) -> None:
    there = back(catalog(table(column("v", old))), catalog(table(column("v", new))))
    assert bool(there.conversions) is asks
    assert by_name(there)["v"].how == "retyped"


def test_a_value_that_does_not_fit_is_told_and_not_cut() -> None:
    def fits(old: str, new: str) -> str:
        there = back(catalog(table(column("v", old))), catalog(table(column("v", new))))
        return by_name(there)["v"].fits

    assert fits("character varying(5)", "text") == 'char_length((s."v")::text) <= 5'
    assert fits("integer", "bigint").startswith('(s."v") >= -2147483648')
    assert 'round(s."v", 2)' in fits("numeric(10,2)", "numeric(12,4)")
    assert fits("bigint", "integer") == fits("text", "uuid") == ""


def other(kind: str, name: str, definition: str) -> Other:
    return Other(kind=kind, name=name, oid=70, definition=definition)


def test_domains_and_composites_go_by_name() -> None:
    domain = other("domain", "public.mail", "CREATE DOMAIN public.mail AS text")
    pair = other("type", "public.pair", "CREATE TYPE public.pair AS (a integer)")
    wide = replace(pair, definition="CREATE TYPE public.pair AS (a integer, b integer)")

    def schema(type_: str, *others: Other) -> Catalog:
        return replace(catalog(table(column("v", type_))), others=others)

    same = back(schema("public.mail", domain), schema("public.mail", domain))
    assert by_name(same)["v"].how == "same"
    plain = back(schema("public.mail", domain), schema("text"))
    assert by_name(plain)["v"].how == "retyped"
    assert plain.conversions == ()
    assert back(schema("public.pair", pair), schema("public.pair", wide)).conversions != ()
    renamed = back(
        schema("public.mail", domain), schema("public.m", replace(domain, name="public.m"))
    )
    assert by_name(renamed)["v"].how == "same"


def test_values_that_a_migration_computes_anew_need_a_yes() -> None:
    schema = catalog(table(column("price", "integer")))
    for text, asks in (
        ("UPDATE t SET price = price * 100", True),
        ("UPDATE t AS x SET price = round(x.price / 2)", True),
        ("UPDATE t SET price = 0 WHERE price IS NULL", False),
        ("UPDATE t SET price = coalesce(price, 0)", False),
        ("UPDATE t SET price = o.price FROM o WHERE o.id = t.id", False),
        ("DO $$ BEGIN UPDATE t SET price = price * 100; END $$", True),
        (
            "ALTER TABLE t RENAME price TO p; UPDATE t SET p = -p; ALTER TABLE t RENAME p TO price",
            True,
        ),
        ("ALTER TABLE t ALTER price TYPE integer USING price * 100", True),
        ("ALTER TABLE t ALTER price TYPE integer USING price::integer", False),
        ("ALTER TABLE t ADD fresh integer; UPDATE t SET fresh = fresh + 1", False),
    ):
        said = back(schema, schema, texts=[text]).conversions
        assert bool(said) is asks, text
        assert not said or "migration m1 computes its values anew" in said[0]


def test_whether_the_migrations_could_be_read() -> None:
    for text, followed in (
        ("ALTER TABLE t ADD x integer", True),
        ("SELECT count(*) FROM t", True),
        ("DO $$ BEGIN IF true THEN DELETE FROM t; END IF; END $$", False),
        ("CALL move_it()", False),
        ("SELECT rewrite_prices()", False),
        ("this is no SQL", False),
        ("", False),
    ):
        assert matched(OLD, OLD, text).followed is followed, text
    assert not matched(OLD, OLD).followed


def test_what_the_migrations_drop_is_not_matched_by_name() -> None:
    """A hidden statement may have made it anew: then it is another column."""
    there = pairs(
        OLD, OLD, same_database=False, texts=[("m", "ALTER TABLE t DROP name")], schema="public"
    )
    assert there.tables[0].columns == (("id", "id"),)
    gone = pairs(OLD, OLD, same_database=False, texts=[("m", "DROP TABLE t")], schema="public")
    assert gone.tables == ()


def test_what_nothing_tells_is_matched_by_name_elsewhere() -> None:
    new = catalog(replace(table(column("name", attnum=9)), oid=77))
    there = pairs(OLD, new, same_database=False, texts=(), schema="public")
    assert there.tables[0].columns == (("id", "id"), ("name", "name"))
    assert correspond(new, OLD, there).conversions == ()


def test_a_column_of_the_same_number_elsewhere_proves_nothing() -> None:
    new = catalog(table(Column(name="other", attnum=2, type="text")))
    there = pairs(OLD, new, same_database=False, texts=(), schema="public")
    assert there.tables[0].columns == (("id", "id"),)


def test_what_a_way_down_put_back_has_another_number_and_is_the_same() -> None:
    """The checkpoint is older than a migration that was taken back since."""
    new = catalog(table(column("name", attnum=7), column("more", attnum=8)))
    text = "ALTER TABLE t ADD more text"
    assert matched(OLD, new, text).tables[0].columns == (("id", "id"), ("name", "name"))
    for text in ("ALTER TABLE t ADD more text, DROP name, ADD name text", "CALL anything()"):
        assert matched(OLD, new, text).tables[0].columns == (("id", "id"),)
    anew = catalog(replace(table(column("name", attnum=5)), oid=33))
    assert matched(OLD, anew, "CREATE INDEX ON t (name)").tables[0].columns == (
        ("id", "id"),
        ("name", "name"),
    )
    assert matched(OLD, anew, "DROP TABLE t; CREATE TABLE t (id int)").tables == ()


def test_one_column_is_never_taken_for_two() -> None:
    old = catalog(table(column("a"), column("b", attnum=3)))
    new = catalog(table(column("a", attnum=3), column("hidden", attnum=2)))
    texts = [("m", "ALTER TABLE t RENAME a TO c; ALTER TABLE t RENAME b TO a; CALL rename_c()")]
    there = pairs(old, new, same_database=False, texts=texts, schema="public")
    assert there.tables[0].columns == (("id", "id"), ("b", "a"))
