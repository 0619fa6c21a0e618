"""Decisions, as pure functions: releases, migrations, plans, preflight, undo."""
