"""What a taly that was killed left on a database server."""

from taly.database.connection import Target, reading
from taly.database.scratch import left_behind

SIDES = r"""
SELECT datname FROM pg_database
WHERE datname ~ '(_|~[0-9a-f]{8}.*)taly_side_run-' ORDER BY datname
"""


def left_over(target: Target, busy: str) -> tuple[str, ...]:
    """Scratch databases, and such as a restore was making ready; not those of the run `busy`.

    A run that is not finished clears away what it made when it is resumed.
    """
    with reading(target) as connection:
        sides = [str(name) for (name,) in connection.execute(SIDES)]
    mine = [name for name in sides if not (busy and name.endswith(busy))]
    return (*left_behind(target), *mine)
