"""Implementations of the activities declared in `octy_workflows.activities`, one class for each subject."""
