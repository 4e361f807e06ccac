"""The sidecar: scaling events and gRPC calls become worker pods, and nothing is lost.

An order (a Redis event or a call) becomes pods whose names follow from the order, so doing it again
does nothing. Every replica takes orders and answers questions; one of them, the holder of a Lease,
tends what exists: it lifts quotas, follows logs, tells the handler of changes, removes what has
ended, runs pipelines and claims the events of dead replicas. What must survive a restart is in the
cluster and in Redis, never only here.
"""
