"""Mails to customers: what they say (`renderer`, `facts`), their rows (`journal`), their way out (`mailer`)."""
