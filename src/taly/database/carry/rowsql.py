"""SQL over one row: its key, its hash, its values, the same on both sides."""

from taly.database.carry.model import Since
from taly.database.carry.sql import array, lit, q
from taly.database.carry.work import COLLATED, Column, Part, Work, Works


def _bytewise(expression: str) -> str:
    """Compared and hashed byte by byte, whatever collation the column has."""
    return f'{expression} COLLATE "C"'


def _hashed(column: Column, plain: str, text: str) -> str:
    if not column.native:
        return _bytewise(f"({text})::text")
    return _bytewise(plain) if column.here.typname in COLLATED else plain


def live_value(column: Column) -> str:
    """The value as text, read from a row `s` of the source."""
    if not column.pair.expression:
        return f"s.{q(column.pair.source)}::text"
    return f"({column.pair.expression})::text"


def _live_hashed(column: Column) -> str:
    return _hashed(
        column, f"s.{q(column.pair.source)}", column.pair.expression or f"s.{q(column.pair.source)}"
    )


def _there_hashed(column: Column, row: str = "t") -> str:
    name = f"{row}.{q(column.pair.target)}"
    return _hashed(column, name, name)


def _hash(works: Works, values: list[str]) -> str:
    if not values:
        return "0::bigint"
    row = f"ROW({', '.join(values)})"
    return (
        f"hash_record_extended({row}, 0)"
        if works.hash_records
        else f"hashtextextended({row}::text, 0)"
    )


def live_key_hash(works: Works, work: Work) -> str:
    """Of the key of a row `s` of the source; of the whole row where there is none."""
    columns = [work.columns[i] for i in work.key] or list(work.columns)
    return _hash(works, [_live_hashed(one) for one in columns])


def live_hash(works: Works, work: Work) -> str:
    """Of a row `s` of the source, as it would read in the target."""
    return _hash(works, [_live_hashed(one) for one in work.columns])


def key_hash(works: Works, work: Work) -> str:
    """Of the key of a row `t` of the target."""
    columns = [work.columns[i] for i in work.key] or list(work.columns)
    return _hash(works, [_there_hashed(one) for one in columns])


def there_hash(works: Works, work: Work) -> str:
    """Of a row `t` of the target."""
    return _hash(works, [_there_hashed(one) for one in work.columns])


def live_key(work: Work) -> str:
    """The key of a row `s` of the source as an array of text."""
    return array(f"s.{q(name)}::text" for name in work.source_key)


def there_key(work: Work, row: str = "t") -> str:
    """The key of a row of the target as an array of text."""
    return array(f"{row}.{q(name)}::text" for name in work.target_key)


def there_is(work: Work, key: str, row: str = "t") -> str:
    """Condition: the row of the target has this key, an array of text.

    A label that the target's enum does not know is no error but no match.
    """
    conditions = []
    for place, i in enumerate(work.key, 1):
        column = work.columns[i]
        name = f"{row}.{q(column.pair.target)}"
        if column.here.enum:
            conditions.append(f"{name}::text = {key}[{place}]")
        else:
            conditions.append(f"{name} = ({key}[{place}])::{column.here.base}")
    return " AND ".join(conditions)


def misfit(work: Work) -> str:
    """Why a row `s` of the source cannot be read in the target; NULL when it can."""
    cases = " ".join(
        f"WHEN ({one.pair.fits}) IS FALSE"
        f" THEN {lit(f'column {one.pair.target}: the value does not fit {one.here.type}')}"
        for one in work.columns
        if one.pair.fits
    )
    return f"CASE {cases} END" if cases else "NULL::text"


def live_text(work: Work) -> str:
    """The whole row `s` of the source as an array of text."""
    return array(f"s.{q(fact.name)}::text" for fact in work.live)


def there_text(work: Work, row: str = "t") -> str:
    """The carried columns of a row of the target as an array of text."""
    return array(f"{row}.{q(one.pair.target)}::text" for one in work.columns)


def differs(work: Work, part: Part) -> str:
    """Condition: a value of a row `s` of the source has no place, or reads otherwise there."""
    value = f"s.{q(part.name)}"
    if part.column >= 0:
        return f"({value}::text IS DISTINCT FROM {live_value(work.columns[part.column])})"
    if not part.default:
        return f"({value} IS DISTINCT FROM NULL)"  # a composite of NULLs IS NULL, and is a value
    return f"({value}::text IS DISTINCT FROM ({part.default})::{part.type}::text)"


def parts_of(work: Work) -> tuple[str, str]:
    """The values that may have no place, and for which of them that is so, as two arrays."""
    if not work.parts:
        return "NULL::text[]", "NULL::boolean[]"
    values = array(f"s.{q(part.name)}::text" for part in work.parts)
    return values, array((differs(work, part) for part in work.parts), "boolean")


def before_window(since_: Since) -> str:
    """Condition: the row was written since the backup, and before a migration could begin."""
    if since_.window_start is None:
        return "false"
    return f"({since(since_.xmin)} AND NOT ({since(since_.window_start)}))"


def since(xid: int) -> str:
    """Condition: the row was written at or after that transaction, modulo 2³² (`newer`)."""
    return f"age(s.xmin) <= age({lit(str(xid % 2**32))}::xid)"
