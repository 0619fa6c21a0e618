"""Where the bookings are that the sandbox's customers were told of."""

from taly.cli.demo_bookings import Account, account, told
from tests.e2e.conftest import Sandbox

CUSTOMERS = 4


def counted(box: Sandbox) -> Account:
    """Count them while the customers wait for a moment; they go on afterwards."""
    box.control.set_writers(0)
    rows = told(box.control.writers())
    found = account(rows, box.environ["DATABASE_URL"], box.directory / ".taly" / "rescue")
    box.control.set_writers(CUSTOMERS)
    return found
