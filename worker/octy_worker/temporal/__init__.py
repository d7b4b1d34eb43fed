"""The connection to Temporal: client, encryption of payloads, search attributes, schedules and deployment."""
