"""What `octy_workflows.activities` declares, done: one class a subject, what it shares passed in."""
