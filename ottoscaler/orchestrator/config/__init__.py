"""The orchestrator's configuration: a strict YAML file, or the variables of existing installations."""
