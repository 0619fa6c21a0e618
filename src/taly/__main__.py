"""`python -m taly` is the same as `taly`."""

from taly.cli.main import main

main()
