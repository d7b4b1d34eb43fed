"""Reports as tables and pages for people."""
