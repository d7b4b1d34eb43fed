"""Reports for support staff and operators, read from the database."""
