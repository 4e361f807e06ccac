"""The adapter for a long time: every kind of source that runs here, changing, failing and reloaded meanwhile."""
