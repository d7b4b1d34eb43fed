"""Web servers inside a worker's process, with limits on connections."""
