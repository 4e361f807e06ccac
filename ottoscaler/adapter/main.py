"""`ottoscaler adapter`: the command line of the process that runs in the pod.

It starts once a pod and answers within a second, so it reads its few options with argparse and imports
nothing that only the interactive commands need.
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

    from ottoscaler.runtime.late_packages import put_off
    from ottoscaler.runtime.lazy_trust import import_aiohttp

    import_aiohttp()
    put_off("redis", "redis.asyncio")

    from ottoscaler.adapter.config.load import ConfigError
    from ottoscaler.adapter.options import Options, StartError
    from ottoscaler.adapter.process import run

    options = Options(config=parsed.config, kubeconfig=parsed.kubeconfig, standalone=parsed.standalone)
    try:
        with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
            runner.run(run(options))
    except ConfigError as error:
        print(error, file=sys.stderr)
        return BAD_CONFIGURATION
    except StartError as error:
        print(f"ottoscaler adapter: {error}", file=sys.stderr)
        return FAILED
    return 0


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="ottoscaler adapter",
        description="Serve the work that waits in queues as Kubernetes external metrics.",
    )
    parser.add_argument(
        "--config",
        type=Path,
        metavar="FILE",
        help="YAML; without it the FIREBASE_* and REDIS_* variables count",
    )
    where = parser.add_mutually_exclusive_group()
    where.add_argument(
        "--kubeconfig", type=Path, metavar="FILE", help="the cluster, when not run in one of its pods"
    )
    where.add_argument(
        "--standalone",
        action="store_true",
        help="no cluster: serve on loopback, to whoever has the token that is printed at start",
    )
    return parser
