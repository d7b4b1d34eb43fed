"""Mails to customers and staff: facts, templates, rows, SMTP."""
