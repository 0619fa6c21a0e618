"""What is kept just before a migration, so that it can be taken back without losing anything."""
