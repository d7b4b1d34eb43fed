"""What support staff is shown, read from the database."""
