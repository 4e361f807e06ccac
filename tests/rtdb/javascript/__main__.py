"""python -m tests.rtdb.javascript: installs the client in a temporary directory and lets it read from a server."""

import asyncio
import shutil
import sys
import tempfile
from pathlib import Path

from tests.rtdb import RtdbServer

HERE = Path(__file__).parent


async def main() -> int:
    """0 when the client agrees."""
    with tempfile.TemporaryDirectory() as directory:
        for name in ("package.json", "check.cjs"):
            shutil.copy(HERE / name, directory)
        install = await asyncio.create_subprocess_exec(
            "npm", "install", "--silent", "--no-audit", "--no-fund", cwd=directory
        )
        if await install.wait():
            return 1
        async with RtdbServer() as server:
            check = await asyncio.create_subprocess_exec("node", "check.cjs", server.address, cwd=directory)
            return await check.wait()


if __name__ == "__main__":
    sys.exit(asyncio.run(main()))
