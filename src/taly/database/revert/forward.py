"""The migration run once more, in a savepoint, over what was put back: it tells whose a value is.

A row that somebody wrote since the migration may still hold the migration's value in the columns
that nobody meant. If the saved value, migrated once more, gives what was live, then it is the
migration's, and the saved one comes back; else somebody wrote it, and it stays. And a row that was
put back and that the migration does not delete again was deleted by somebody since: it goes again.
"""

import tempfile
from collections.abc import Mapping, Sequence
from contextlib import ExitStack
from typing import IO

import psycopg
from psycopg.sql import SQL, Composable, Composed, Identifier

from taly.database.revert.back import Quiet, Return
from taly.database.revert.session import attended, patiently
from taly.database.revert.staged import Staged, as_text
from taly.model.ports import Say

SPOOL = 1 << 22
Pair = tuple[Return, Staged | None]


def settle(
    connection: psycopg.Connection,
    back: Sequence[Return],
    stages: Mapping[int, Staged],
    statements: Sequence[str],
    say: Say,
    *,
    as_far: bool = False,
) -> None:
    """Correct what the rows' transactions alone cannot tell; nothing where there is no doubt.

    When the migration cannot be run once more, what its transactions tell stands. `as_far`: it
    failed, and is run as far as it comes.
    """
    doubtful = [
        (one, stages.get(one.live.oid))
        for one in back
        if one.live is not None and one.key and _in_doubt(connection, one, stages)
    ]
    if not doubtful or any("concurrently" in text.lower() for text in statements):
        return
    with ExitStack() as stack:
        found = _tried(connection, doubtful, statements, say, stack, as_far=as_far)
        for (one, stage), file in found:
            with Quiet(connection, one.before):
                _apply(connection, one, stage, file, say)
    connection.execute("SET CONSTRAINTS ALL IMMEDIATE")


def _tried(
    connection: psycopg.Connection,
    doubtful: Sequence[Pair],
    statements: Sequence[str],
    say: Say,
    stack: ExitStack,
    *,
    as_far: bool,
) -> list[tuple[Pair, IO[bytes]]]:
    """What the migration makes of the saved values, kept outside the savepoint that it ran in."""
    files = [stack.enter_context(_spooled()) for _ in doubtful]
    found: list[tuple[Pair, IO[bytes]]] = list(zip(doubtful, files, strict=True))
    connection.execute("SAVEPOINT taly_forward")
    try:
        for one, stage in doubtful:
            if stage is not None and one.overwritten:
                with Quiet(connection, one.before):
                    patiently(connection, _put(one, stage), say, "tries the saved values")
        _run(connection, statements, say, as_far=as_far)
        for (one, stage), file in found:
            _answers(connection, one, stage, file, say)
    except psycopg.Error:
        if connection.closed:
            raise
        found = []
    connection.execute("ROLLBACK TO SAVEPOINT taly_forward")
    return found


def _spooled() -> IO[bytes]:
    """A file that is gone when it is closed, and in memory while it is small."""
    return tempfile.SpooledTemporaryFile(SPOOL)


def _run(
    connection: psycopg.Connection, statements: Sequence[str], say: Say, *, as_far: bool
) -> None:
    for statement in statements:
        connection.execute("SAVEPOINT taly_statement")
        try:
            patiently(connection, statement, say, "runs the migration once more, to compare")
        except psycopg.Error:
            if connection.closed or not as_far:
                raise
            connection.execute("ROLLBACK TO SAVEPOINT taly_statement")
            return


def _in_doubt(connection: psycopg.Connection, one: Return, stages: Mapping[int, Staged]) -> bool:
    assert one.live is not None, "the caller has seen to it"
    stage = stages.get(one.live.oid)
    if one.whole and one.rows:
        return True
    if stage is None or not one.overwritten:
        return False
    query = SQL("SELECT EXISTS (SELECT FROM {} l JOIN {} s ON {} WHERE l.since)").format(
        stage.temporary, one.saved, stage.same_key("s", "l")
    )
    return connection.execute(query).fetchone() == (True,)


def _put(one: Return, stage: Staged) -> Composed:
    columns = SQL(", ").join(
        SQL("{} = s.{}").format(Identifier(old.name), Identifier(old.name))
        for _, old in one.overwritten
    )
    return SQL("UPDATE {} t SET {} FROM {} s JOIN {} l ON {} WHERE {} AND l.since").format(
        one.place,
        columns,
        one.saved,
        stage.temporary,
        stage.same_key("s", "l"),
        one.same_key("t", "s"),
    )


def _answers(
    connection: psycopg.Connection,
    one: Return,
    stage: Staged | None,
    file: IO[bytes],
    say: Say,
) -> None:
    """Keys, and of which columns the migration gives what was live."""
    query = _survivors(one) if stage is None or not one.overwritten else _equal(one, stage)

    def fill() -> None:
        with connection.cursor() as cursor, cursor.copy(query) as copy:
            for block in copy:
                file.write(block)

    attended(connection, fill, say, f"compares {one.before.name}")
    file.seek(0)


def _equal(one: Return, stage: Staged) -> Composed:
    assert one.live is not None, "it is staged"
    keys: list[Composable] = [
        SQL("l.{}").format(Identifier(f"k{n}")) for n in range(len(stage.key))
    ]
    numbers = {now.attnum: number for number, (now, _) in enumerate(stage.columns)}
    tests = [
        SQL("({} IS NOT DISTINCT FROM l.{})").format(
            as_text("t", now.name), Identifier(f"c{numbers[now.attnum]}")
        )
        for now, _ in one.overwritten
    ]
    same = SQL(" AND ").join(
        SQL("t.{} = l.{}").format(Identifier(now.name), Identifier(f"k{number}"))
        for number, (now, _) in enumerate(stage.key)
    )
    return SQL("COPY (SELECT {} FROM {} t JOIN {} l ON {} WHERE l.since) TO STDOUT").format(
        SQL(", ").join([*keys, *tests]),
        Identifier(one.live.schema, one.live.name),
        stage.temporary,
        same,
    )


def _survivors(one: Return) -> Composed:
    """Rows that were put back and that the migration leaves alone, by their keys."""
    assert one.live is not None, "it is staged"
    names = {column.attnum: column.name for column in one.live.columns}
    numbers = {column.name: column.attnum for column in one.before.columns}
    same = SQL(" AND ").join(
        SQL("t.{} = s.{}").format(Identifier(names[numbers[name]]), Identifier(name))
        for name in one.key
    )
    return SQL("COPY (SELECT {} FROM {} s JOIN {} t ON {}) TO STDOUT").format(
        SQL(", ").join(SQL("s.{}").format(Identifier(name)) for name in one.key),
        one.saved,
        Identifier(one.live.schema, one.live.name),
        same,
    )


def _apply(
    connection: psycopg.Connection,
    one: Return,
    stage: Staged | None,
    file: IO[bytes],
    say: Say,
) -> None:
    temporary = Identifier("pg_temp", f"taly_forward_{one.number}")
    overwritten = one.overwritten if stage is not None else ()
    keys = SQL(", ").join(
        SQL("s.{} AS {}").format(Identifier(name), Identifier(f"k{number}"))
        for number, name in enumerate(one.key)
    )
    flags = [SQL("true AS {}").format(Identifier(f"f{n}")) for n in range(len(overwritten))]
    connection.execute(
        SQL("CREATE TEMP TABLE {} ON COMMIT DROP AS SELECT {} FROM {} s WITH NO DATA").format(
            Identifier(f"taly_forward_{one.number}"), SQL(", ").join([keys, *flags]), one.saved
        )
    )

    def fill() -> None:
        query = SQL("COPY {} FROM STDIN").format(temporary)
        with connection.cursor() as cursor, cursor.copy(query) as copy:
            while block := file.read(1 << 18):
                copy.write(block)

    note = f"settles {one.before.name}"
    attended(connection, fill, say, note)
    same = SQL(" AND ").join(
        SQL("t.{} = f.{}").format(Identifier(name), Identifier(f"k{number}"))
        for number, name in enumerate(one.key)
    )
    if not overwritten:
        query = SQL("DELETE FROM {} t USING {} f WHERE {}").format(one.place, temporary, same)
        gone = patiently(connection, query, say, note)
        one.rows -= gone
        if gone:
            one.left["it was deleted since, and not by the migration"] = gone
        return
    columns = SQL(", ").join(
        SQL("{} = CASE WHEN f.{} THEN s.{} ELSE t.{} END").format(
            Identifier(old.name), Identifier(f"f{n}"), Identifier(old.name), Identifier(old.name)
        )
        for n, (_, old) in enumerate(overwritten)
    )
    query = SQL("UPDATE {} t SET {} FROM {} f, {} s WHERE {} AND {}").format(
        one.place, columns, temporary, one.saved, same, one.same_key("s", "t")
    )
    one.rows += patiently(connection, query, say, note)
