"""The orchestrator on a real control plane, with a real Redis, and workers that really run."""
