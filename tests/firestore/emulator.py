"""Finds and runs Google's Firestore emulator: a Java program that comes with the Cloud SDK.

`FIRESTORE_EMULATOR_JAR` names the jar; without it the places where the Cloud SDK is installed are searched.
"""

import asyncio
import contextlib
import os
import shutil
import tempfile
from collections.abc import AsyncIterator, Iterator, Mapping
from pathlib import Path
from typing import Any
from unittest import mock

import aiohttp
from google.cloud.firestore import AsyncClient

from tests.ports import free_port

VARIABLE = "FIRESTORE_EMULATOR_JAR"
HOW_TO_GET_IT = (
    f"the Firestore emulator is missing: set {VARIABLE}, or install it "
    "(gcloud components install cloud-firestore-emulator, or the Debian package "
    "google-cloud-cli-firestore-emulator) together with a Java runtime"
)
_JAR = Path("platform/cloud-firestore-emulator/cloud-firestore-emulator.jar")
_MAIN = "com.google.cloud.datastore.emulator.firestore.CloudFirestore"


def jar(environ: Mapping[str, str] = os.environ) -> Path | None:
    """The emulator's jar; None when it is not on this machine."""
    if environ.get(VARIABLE):
        file = Path(environ[VARIABLE])
        return file if file.is_file() else None
    return next((root / _JAR for root in _sdk_roots(environ) if (root / _JAR).is_file()), None)


def _sdk_roots(environ: Mapping[str, str]) -> Iterator[Path]:
    """Where a Cloud SDK may be: where it says, where its command leads, where packages put it."""
    for name in ("CLOUDSDK_ROOT_DIR", "GOOGLE_CLOUD_SDK"):
        if environ.get(name):
            yield Path(environ[name])
    command = shutil.which("gcloud", path=environ.get("PATH"))
    if command is not None:
        yield Path(command).resolve().parent.parent
    yield from map(
        Path, ("/usr/lib/google-cloud-sdk", "/opt/google-cloud-sdk", "/usr/local/google-cloud-sdk")
    )
    yield Path("/snap/google-cloud-cli/current")
    yield Path.home() / "google-cloud-sdk"


class Emulator:
    """One running emulator; every test takes a project of its own in it."""

    def __init__(self, file: Path) -> None:
        self._file = file
        self._home = tempfile.TemporaryDirectory(prefix="firestore-emulator-")
        self._process: asyncio.subprocess.Process | None = None
        self.port = free_port()

    @property
    def address(self) -> str:
        """`host:port`, as `FIRESTORE_EMULATOR_HOST` wants it."""
        return f"127.0.0.1:{self.port}"

    async def start(self) -> None:
        """Starts it and waits until it answers."""
        log = (Path(self._home.name) / "log").open("wb")
        with log:
            self._process = await asyncio.create_subprocess_exec(
                *("java", "-Xmx512m", "-cp", str(self._file), _MAIN, "--host", "127.0.0.1"),
                *("--port", str(self.port)),
                cwd=self._home.name,
                stdin=asyncio.subprocess.DEVNULL,
                stdout=log,
                stderr=asyncio.subprocess.STDOUT,
            )
        patience = aiohttp.ClientTimeout(total=2.0)  # what it is asked too early it may never answer
        async with asyncio.timeout(60), aiohttp.ClientSession(timeout=patience) as session:
            while True:
                with contextlib.suppress(aiohttp.ClientError, TimeoutError):
                    async with session.get(f"http://{self.address}/") as answer:
                        if answer.status == 200:
                            break
                if self._process.returncode is not None:
                    raise RuntimeError((Path(self._home.name) / "log").read_text())
                await asyncio.sleep(0.05)
        await self._first_answer()

    async def _first_answer(self) -> None:
        """Its first query of a kind takes seconds on a busy machine, longer than a measurement may."""
        with mock.patch.dict(os.environ, {"FIRESTORE_EMULATOR_HOST": self.address}):
            client = AsyncClient(project="first")
            try:
                nothing: Any = client.collection("nothing")
                await nothing.count(alias="n").get(timeout=60, retry=None)
                await nothing.get(timeout=60, retry=None)
            finally:
                await client._firestore_api.transport.close()

    async def stop(self) -> None:
        """Ends it; what it held is gone."""
        if self._process is not None:
            if self._process.returncode is None:
                self._process.kill()
            await self._process.wait()
        self._home.cleanup()


@contextlib.asynccontextmanager
async def running(file: Path) -> AsyncIterator[Emulator]:
    """A running emulator."""
    emulator = Emulator(file)
    try:
        await emulator.start()
        yield emulator
    finally:
        await emulator.stop()
