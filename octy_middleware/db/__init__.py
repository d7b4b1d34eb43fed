"""The database: connections, transactions, tables and migrations, for SQLite and PostgreSQL."""
