"""The server as a command, for people and for pods of the test cluster.

python -m tests.rtdb [--host 0.0.0.0] [--data FILE] [--keep-alive SECONDS] [--namespace NAME] PORT
"""

import argparse
import asyncio
import signal
from pathlib import Path

from tests.rtdb.server import KEEP_ALIVE_SECONDS, RtdbServer


async def serve(arguments: argparse.Namespace) -> None:
    """Runs until SIGTERM or SIGINT."""
    stop = asyncio.Event()
    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, stop.set)
    server = RtdbServer(
        host=arguments.host,
        port=arguments.port,
        keep_alive=arguments.keep_alive,
        default_namespace=arguments.namespace,
        data=arguments.data,
    )
    async with server:
        print(f"database {server.url()}", flush=True)
        await stop.wait()


def main() -> None:
    """Reads the command line."""
    parser = argparse.ArgumentParser(prog="python -m tests.rtdb", description=__doc__)
    parser.add_argument("port", type=int, help="0 chooses a free one")
    parser.add_argument("--host", default="127.0.0.1")
    parser.add_argument("--data", type=Path, help="a file that keeps the data")
    parser.add_argument("--keep-alive", type=float, default=KEEP_ALIVE_SECONDS, metavar="SECONDS")
    parser.add_argument("--namespace", default="demo", help="of requests that name none")
    asyncio.run(serve(parser.parse_args()))


if __name__ == "__main__":
    main()
