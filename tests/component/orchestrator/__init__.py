"""The orchestrator with a real Redis and real gRPC, over the cluster of mock mode."""
