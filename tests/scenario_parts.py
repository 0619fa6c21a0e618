"""Parts of scenarios that several tests have in common."""

BACKEND = """
[[components]]
name = "database"
vendor = "postgres"

[[components]]
name = "backend"
vendor = "apprunner"
after = ["database"]
"""
"""A backend on App Runner and its database."""
