"""Real Redis servers for tests: single, with TLS, behind Sentinel, in a Cluster."""
