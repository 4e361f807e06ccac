"""What tests of the orchestrator share: a handler that records, replicas as processes, seeds."""
