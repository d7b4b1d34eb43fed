"""Mails to customers: what they say (`letters`, `facts`), their rows (`journal`), their way out (`mailer`)."""
