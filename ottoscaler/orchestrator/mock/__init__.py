"""Mock mode: the same API and the same orchestrator over a cluster that exists only in memory.

It stands below everything else, so quotas, pipelines, logs and notifications are the real ones. Client
developers need no cluster, and tests of what the orchestrator decides run in virtual time.
"""
