"""Web servers of the worker, with limits on connections."""
