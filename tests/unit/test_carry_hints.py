"""What the team says of a column: read strictly, and used only where it means something."""

import json
from typing import Any

import pytest
from tests.unit.carry_stage import (
    ID,
    RENAMED,
    STATUS,
    back,
    by_name,
    catalog,
    column,
    forth,
    of,
    table,
)

from taly.errors import UsageError
from taly.model.catalog import Catalog, Enum
from taly.planning.carry import Hint, describe, read_hints

ENUM = "public.status"


def test_nothing_said() -> None:
    assert read_hints("") == read_hints("{}") == ()


def test_all_that_can_be_said() -> None:
    text = json.dumps({"b.s": {"enum_map": {"new": "old"}, "fill": " 1 ", "transform": "a + b"}})
    assert read_hints(text) == (
        Hint(column="b.s", enum_map=(("new", "old"),), fill="1", transform="a + b"),
    )


@pytest.mark.parametrize(
    ("given", "said"),
    [
        ([], "no table of columns"),
        ({"price": {}}, "price is no column"),
        ({"a.b.c.d": {}}, "a.b.c.d is no column"),
        ({"a.b": "x"}, "the hint for a.b is no table"),
        ({"a.b": {"transfrom": "x"}}, "has transfrom"),
        ({"a.b": {"enum_map": ["x"]}}, "enum_map of a.b is no table"),
        ({"a.b": {"enum_map": {"x": 1}}}, "enum_map of a.b is no table"),
        ({"a.b": {"fill": 0}}, "fill of a.b is no text"),
    ],
)
def test_what_is_no_hint(given: Any, said: str) -> None:
    with pytest.raises(UsageError) as caught:
        read_hints(json.dumps(given))
    assert said in caught.value.message
    assert caught.value.reference == "column-hint-invalid"


def test_no_json() -> None:
    with pytest.raises(UsageError, match="no JSON"):
        read_hints("{")


@pytest.mark.parametrize(
    "expression",
    [
        "a, b",
        "a; DROP TABLE t",
        "(SELECT 1)",
        "EXISTS (SELECT FROM t)",
        "1) FROM (x",
        "1) + (2",
        "1) UNION (SELECT 2",
        "a AS b",
        "a b",
        "*",
        "$1",
        " ",
        "1 -- x",
        "'open",
        "-1" * 200,
    ],
)
def test_what_is_not_one_expression(expression: str) -> None:
    for key in ("fill", "transform"):
        with pytest.raises(UsageError, match=f"{key} of a.b is not one SQL expression"):
            read_hints(json.dumps({"a.b": {key: expression}}))


PRICE = catalog(table(column("price", "numeric(10,2)")))
CENTS = catalog(table(column("Cents", "integer")))
TRANSFORM = Hint(column="t.price", transform="\"Cents\" / 100.0 + s.id + length('Cents ä')")


def test_a_transform_answers_and_means_the_row_wherever_it_stands() -> None:
    there = back(PRICE, CENTS, TRANSFORM)
    assert there.conversions == there.notes == ()
    pair = by_name(there)["price"]
    assert (pair.source, pair.how) == ("Cents", "hinted")
    assert (
        "(s.\"Cents\" / 100.0 + s.id + length('Cents ä'))::numeric(10,2)::text" in pair.expression
    )
    assert of(there).split == ()
    assert describe(there) == ("t: reads by your hints price",)


def test_every_name_in_a_hint_is_of_the_row() -> None:
    old = catalog(table(column("who")))
    new = catalog(table(column("a", attnum=3), column("b", attnum=4)))
    pair = by_name(back(old, new, Hint(column="t.who", transform="upper(a) || 'ä' || b || a")))
    assert pair["who"].expression == "(upper(s.a) || 'ä' || s.b || s.a)::text"


def test_a_transform_that_names_what_is_not_there_is_no_answer() -> None:
    there = back(PRICE, CENTS, Hint(column="t.price", transform="cents / 100"))
    assert "t has no column cents (a name with capitals needs double quotes)" in there.notes[0]
    assert len(there.conversions) == 1


def test_a_transform_does_not_tell_the_way_forth() -> None:
    """An undo leaves the new column as it was, and the bundle gets the old value."""
    found = of(forth(PRICE, CENTS, TRANSFORM))
    assert [one.name for one in found.split] == ["price"]
    assert found.kept == ("Cents",)


def test_a_transform_waits_for_the_migration_that_it_is_for() -> None:
    """It stays in taly.toml: a release without that migration must not be read by it."""
    hint = Hint(column="t.price", transform="price / 100")
    for texts, how in (
        (["ALTER TABLE t ADD x text"], "same"),
        (["UPDATE t SET price = price * 100"], "hinted"),
        ([], "hinted"),  # nobody knows what was done
        (["CALL multiply()"], "hinted"),
    ):
        there = back(PRICE, PRICE, hint, texts=texts)
        assert by_name(there)["price"].how == how, texts
        assert bool(there.notes) is (how == "same")
        assert there.conversions == ()


def test_a_fill_stands_for_a_column_that_is_gone() -> None:
    old = catalog(table(column("who", not_null=True)))
    new = catalog(table(column("first", attnum=3)))
    there = back(old, new, Hint(column="t.who", fill="first || '!'"))
    pair = by_name(there)["who"]
    assert (pair.source, pair.how, pair.expression) == ("", "hinted", "(s.first || '!')::text")
    assert of(there).kept == of(there).required == ()
    assert [one.name for one in of(there).split] == ["first"]
    assert of(forth(old, new, Hint(column="t.who", fill="first"))).split[0].name == "who"


def test_a_fill_stands_for_null_where_the_old_schema_allows_none() -> None:
    old, new = (catalog(table(column("who", not_null=value))) for value in (True, False))
    hint = Hint(column="t.who", fill="'nobody'")
    assert by_name(back(old, new, hint))["who"].expression == (
        "coalesce((s.\"who\")::text, ('nobody')::text)"
    )
    assert by_name(back(old, old, hint))["who"].how == "same"


def test_a_hint_that_names_nothing_is_told() -> None:
    said = back(PRICE, PRICE, Hint(column="t.prize", fill="1")).notes
    assert said == ("the hint for t.prize is not used: the old schema has no such column",)


def test_a_hint_that_names_several_is_told() -> None:
    twice = catalog(
        *PRICE.tables,
        *(type(one)(schema="b", name="t", oid=8, columns=one.columns) for one in PRICE.tables),
    )
    assert "there are several" in back(twice, twice, Hint(column="t.price", fill="1")).notes[0]
    assert back(twice, twice, Hint(column="b.t.price", fill="1")).notes == ()


def enums(enum: Enum, type_: str = ENUM) -> Catalog:
    return catalog(table(column("s", type_)), enums=[enum])


MORE = Enum(schema="public", name="status", oid=50, labels=("requested", "late", "confirmed"))


def test_a_new_label_is_not_known_to_the_old_schema() -> None:
    there = back(enums(STATUS), enums(MORE))
    pair = by_name(there)["s"]
    assert (pair.how, pair.labels, pair.expression) == (
        "same",
        ("requested", "confirmed"),
        '(s."s")::text',
    )
    assert there.conversions == ()


def test_an_enum_map_says_how_it_reads() -> None:
    hint = Hint(column="t.s", enum_map=(("late", "requested"), ("odd", "none")))
    there = back(enums(STATUS), enums(MORE), hint)
    pair = by_name(there)["s"]
    assert pair.how == "hinted"
    assert pair.expression == (
        "CASE (s.\"s\")::text WHEN 'late' THEN 'requested' ELSE (s.\"s\")::text END"
    )
    assert "the old schema has no value none" in there.notes[0]
    # Where the old schema knows the value it stays what it is; an undo has nothing to map.
    assert by_name(back(enums(MORE), enums(MORE), hint))["s"].how == "same"
    assert by_name(forth(enums(STATUS), enums(MORE), hint))["s"].how == "same"


def test_a_renamed_label_is_followed_both_ways() -> None:
    one = by_name(back(enums(STATUS), enums(RENAMED)))["s"]
    assert "WHEN 'asked' THEN 'requested'" in one.expression
    other = by_name(forth(enums(STATUS), enums(RENAMED)))["s"]
    assert "WHEN 'requested' THEN 'asked'" in other.expression


def test_a_new_label_under_an_old_name_is_no_old_label() -> None:
    now = Enum(schema="public", name="status", oid=50, labels=("asked", "confirmed", "requested"))
    texts = [
        "ALTER TYPE status RENAME VALUE 'requested' TO 'asked';"
        "ALTER TYPE status ADD VALUE 'requested'"
    ]
    pair = by_name(back(enums(STATUS), enums(now), texts=texts))["s"]
    assert "WHEN 'requested' THEN 'requested__taly_down'" in pair.expression
    assert "WHEN 'asked' THEN 'requested'" in pair.expression


def test_arrays_of_enums() -> None:
    array = f"{ENUM}[]"
    plain = by_name(back(enums(STATUS, array), enums(MORE, array)))["s"]
    assert (plain.how, plain.labels) == ("same", ())
    assert "<> ALL (ARRAY['requested', 'confirmed']::text[])" in plain.fits
    renamed = by_name(back(enums(STATUS, array), enums(RENAMED, array)))["s"]
    assert renamed.expression == "array_replace((s.\"s\")::text[], 'asked', 'requested')::text"
    assert renamed.fits == ""


def test_an_enum_and_a_text() -> None:
    text = catalog(table(column("s")), enums=[STATUS])
    pair = by_name(back(enums(STATUS), text))["s"]
    assert (pair.how, pair.labels) == ("retyped", STATUS.labels)
    for old, new in ((enums(STATUS), text), (text, enums(STATUS))):
        assert back(old, new).conversions == ()
    mapped = by_name(
        back(enums(STATUS), text, Hint(column="t.s", enum_map=(("late", "requested"),)))
    )["s"]
    assert "WHEN 'late' THEN 'requested'" in mapped.expression


def test_an_enum_made_anew_goes_by_its_labels() -> None:
    anew = Enum(schema="public", name="status", oid=99, labels=("confirmed", "late"))
    pair = by_name(back(enums(STATUS), enums(anew)))["s"]
    assert (pair.how, pair.expression) == ("same", '(s."s")::text')


def test_a_hinted_text_is_not_cut() -> None:
    old = catalog(table(column("s", "character varying(3)")))
    new = catalog(table(column("s", "integer", not_null=True)))
    pair = by_name(back(old, new, Hint(column="t.s", transform="s || 'abc'")))["s"]
    assert pair.expression == "(s.s || 'abc')::text"
    assert pair.fits == "char_length((s.s || 'abc')::text) <= 3"
    assert ID.name == "id"
