"""Pipelines: graphs of stages, run in the cluster so that no orchestrator needs to live as long as they do.

ExecutePipeline ──► a ConfigMap for the run ◄── watched by ── every follower, on any replica
                               ▲
leader: pods of the run ──► next state (pure: `state.py`) ──► written there, then acted upon
"""
