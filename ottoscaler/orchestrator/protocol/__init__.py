"""The `ottoscaler.v1` wire contract: `ottoscaler.proto`, and the code generated from it.

Generated code is checked in, so that installing needs no compiler; `make proto` (that is
`python -m ottoscaler.orchestrator.protocol`) writes it anew, and CI sees that nothing changes.
"""
