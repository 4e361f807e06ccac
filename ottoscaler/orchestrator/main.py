"""`ottoscaler orchestrator`: the command line of the sidecar.

It reads its few options with argparse and imports nothing that only the interactive commands need.
"""

import argparse
import asyncio
import sys
from collections.abc import Sequence
from pathlib import Path

BAD_CONFIGURATION = 2
FAILED = 1


def main(arguments: Sequence[str]) -> int:
    """Runs until SIGTERM or SIGINT; the exit status."""
    parsed = _parser().parse_args(arguments)
    # after the arguments, so that --help does not wait for them
    import uvloop

    from ottoscaler.orchestrator.process import StartError, run
    from ottoscaler.runtime.config import ConfigError

    try:
        with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
            runner.run(run(parsed.config, kubeconfig=parsed.kubeconfig, identity=parsed.identity))
    except ConfigError as error:
        print(error, file=sys.stderr)
        return BAD_CONFIGURATION
    except StartError as error:
        print(f"ottoscaler orchestrator: {error}", file=sys.stderr)
        return FAILED
    return 0


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="ottoscaler orchestrator",
        description="Run short-lived worker pods for scaling events and gRPC calls.",
    )
    parser.add_argument(
        "--config",
        type=Path,
        metavar="FILE",
        help="YAML; what it leaves out the variables say (GRPC_PORT, OTTO_HANDLER_HOST, NAMESPACE, REDIS_HOST, …)",
    )
    parser.add_argument(
        "--kubeconfig", type=Path, metavar="FILE", help="the cluster, when not run in one of its pods"
    )
    parser.add_argument(
        "--identity",
        metavar="NAME",
        help="unique among replicas; the pod's name ($POD_NAME, or the host's name) by default",
    )
    return parser
