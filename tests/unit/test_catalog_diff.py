"""Two catalogs are compared by meaning, and what differs is one readable line."""

from dataclasses import replace
from datetime import UTC, datetime

import pytest

from taly.model.catalog import (
    Catalog,
    Column,
    Constraint,
    Enum,
    Extension,
    Function,
    Index,
    Instant,
    Other,
    Sequence,
    Table,
    Trigger,
    View,
)
from taly.planning.catalog_diff import differences

HERE = Instant(
    at=datetime(2026, 3, 2, tzinfo=UTC),
    snapshot="1:1:",
    xmin=1,
    lsn="0/1",
    system_identifier="7",
    database_oid=5,
    server_version=150_018,
)
ELSEWHERE = replace(HERE, database_oid=6)
ID = Column(name="id", attnum=1, type="integer", not_null=True)
MAIL = Column(name="mail", attnum=2, type="text")
KEY = Constraint(name="User_pkey", oid=11, kind="primary", definition="PRIMARY KEY (id)")
INDEX = Index(name="mail_idx", oid=12, definition="CREATE INDEX …", unique=False, valid=True)
TRIGGER = Trigger(name="touch", oid=13, definition="CREATE TRIGGER …", enabled="O")
USER = Table(
    schema="public",
    name="User",
    oid=10,
    columns=(ID, MAIL),
    constraints=(KEY,),
    indexes=(INDEX,),
    triggers=(TRIGGER,),
)
ROLE = Enum(schema="public", name="Role", oid=20, labels=("A", "B"))
VIEW = View(schema="public", name="v", oid=21, definition=" SELECT 1")
FUNCTION = Function(schema="public", name="f", oid=22, arguments="a integer", definition="…")
SEQUENCE = Sequence(schema="public", name="s", oid=23, definition="START 1")
CITEXT = Extension(name="citext", schema="public", version="1.6")
POLICY = Other(kind="policy", name='p ON public."User"', oid=24, definition="…")
BEFORE = Catalog(
    schemas=("public",),
    tables=(USER,),
    enums=(ROLE,),
    views=(VIEW,),
    functions=(FUNCTION,),
    sequences=(SEQUENCE,),
    extensions=(CITEXT,),
    others=(POLICY,),
    instant=HERE,
)


def texts(before: Catalog, after: Catalog) -> list[str]:
    return [one.text for one in differences(before, after)]


def with_table(**changed: object) -> Catalog:
    return replace(BEFORE, tables=(replace(USER, **changed),))


def test_a_catalog_equals_itself() -> None:
    assert texts(BEFORE, BEFORE) == []


def test_the_order_of_columns_and_every_oid_are_left_aside() -> None:
    moved = (replace(MAIL, attnum=1), replace(ID, attnum=7))
    made_anew = replace(USER, oid=99, columns=moved, constraints=(replace(KEY, oid=98),))
    assert texts(BEFORE, replace(BEFORE, tables=(made_anew,))) == []


def test_where_it_was_read_and_when_is_left_aside() -> None:
    assert texts(BEFORE, replace(BEFORE, instant=ELSEWHERE)) == []


@pytest.mark.parametrize(
    ("after", "text"),
    [
        (with_table(columns=(ID,)), "column public.User.mail is missing"),
        (
            with_table(columns=(ID, replace(MAIL, not_null=True))),
            "column public.User.mail: required was no, is yes",
        ),
        (
            with_table(columns=(ID, replace(MAIL, default="'x'::text"))),
            "column public.User.mail: default was none, is 'x'::text",
        ),
        (with_table(constraints=()), "constraint public.User.User_pkey is missing"),
        (
            with_table(indexes=(replace(INDEX, valid=False),)),
            "index public.User.mail_idx: valid was yes, is no",
        ),
        (
            with_table(triggers=(replace(TRIGGER, enabled="D"),)),
            "trigger public.User.touch: enabled was O, is D",
        ),
        (with_table(row_security="on"), "table public.User: row security was off, is on"),
        (
            replace(BEFORE, enums=(replace(ROLE, labels=("B", "A")),)),
            "type public.Role: values was A, B, is B, A",
        ),
        (replace(BEFORE, tables=()), "table public.User is missing"),
        (replace(BEFORE, schemas=("app", "public")), "schema app was not there before"),
        (
            replace(BEFORE, views=(replace(VIEW, definition=" SELECT 2"),)),
            "view public.v: query was SELECT 1, is SELECT 2",
        ),
        (
            replace(BEFORE, functions=(replace(FUNCTION, arguments="a text", oid=1),)),
            "function public.f(a integer) is missing",
        ),
        (replace(BEFORE, sequences=()), "sequence public.s is missing"),
        (
            replace(BEFORE, extensions=(replace(CITEXT, version="1.7"),)),
            "extension citext: version was 1.6, is 1.7",
        ),
        (replace(BEFORE, others=()), 'policy p ON public."User" is missing'),
    ],
)
def test_one_line_says_what_differs(after: Catalog, text: str) -> None:
    assert texts(BEFORE, after)[0] == text


def test_a_rename_is_told_from_a_loss_in_the_same_database() -> None:
    after = with_table(name="Person", columns=(ID, replace(MAIL, name="email")))
    assert texts(BEFORE, after) == [
        "table public.User is now called public.Person",
        "column public.Person.mail is now called public.Person.email",
    ]


def test_in_another_database_an_oid_means_nothing() -> None:
    after = replace(with_table(name="Person"), instant=ELSEWHERE)
    assert texts(BEFORE, after) == [
        "table public.User is missing",
        "table public.Person was not there before",
    ]


def test_two_tables_that_changed_names_are_compared_by_name() -> None:
    """Old code names tables: what is called User must be as User was."""
    other = Table(schema="public", name="Post", oid=30, columns=(ID,))
    before = replace(BEFORE, tables=(USER, other))
    swapped = (replace(USER, name="Post"), replace(other, name="User"))
    found = texts(before, replace(before, tables=swapped))
    assert "column public.User.mail is missing" in found
    assert "column public.Post.mail was not there before" in found


def test_a_long_definition_is_cut() -> None:
    long = replace(VIEW, definition=" SELECT " + "x, " * 200)
    [text] = texts(BEFORE, replace(BEFORE, views=(long,)))
    assert len(text) < 260
