"""PostgreSQL and its migrations as a component like any other."""
