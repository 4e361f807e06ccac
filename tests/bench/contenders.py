"""The servers that are measured, each as a process that is asked by the same front proxy.

Both delegate authentication and authorisation to the same API server, a small one that grants every
review (`go/kube`): what is measured is the serving, not the reviewing.
"""

import json
import os
import shutil
import socket
import subprocess
import sys
import time
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

from tests.bench.programs import built
from tests.cluster.binaries import cache_directory
from tests.component.apiservice.authorities import CLIENT, SERVER, Issued, authority, leaf
from tests.ports import free_port

QUEUES = 100
TARGET = "/apis/external.metrics.k8s.io/v1beta1/namespaces/default/queue_demand?labelSelector=queue%3Dqueue-"
_PATIENCE = 60.0
_BYTECODE = {"PYTHONDONTWRITEBYTECODE": "", "PYTHONPYCACHEPREFIX": str(cache_directory() / "bytecode")}
"""Compiled modules, as an installed package has them."""


class BenchError(Exception):
    """A part of the benchmark did not start; the message holds its last words."""


@dataclass(frozen=True, slots=True)
class Surroundings:
    """What every contender needs: certificates, a kubeconfig, programs."""

    directory: Path
    programs: dict[str, Path]
    redis_port: int

    def path(self, name: str) -> Path:
        return self.directory / name


@dataclass(frozen=True, slots=True)
class Running:
    """A contender that has given its first answer."""

    name: str
    port: int
    pid: int
    first_answer: float
    """Seconds from its start."""
    first_answer_cpu: float
    """CPU seconds until then: what the start costs where nothing else runs."""


def _write(directory: Path, name: str, issued: Issued) -> None:
    (directory / f"{name}.crt").write_bytes(issued.chain_pem)
    (directory / f"{name}.key").write_bytes(issued.key_pem)


@contextmanager
def surroundings(directory: Path) -> Iterator[Surroundings]:
    """Certificates, the API server and a Redis with as many streams as there are queues."""
    programs = built("kube", "load", "reference")
    ca, front = authority("bench-ca"), authority("front-proxy-ca")
    (directory / "ca.crt").write_text(ca.pem)
    (directory / "front-ca.crt").write_text(front.pem)
    _write(directory, "server", leaf(ca, "localhost", names=("localhost",), usages=(SERVER, CLIENT)))
    _write(directory, "front", leaf(front, "front-proxy-client"))
    kube, redis = free_port(), free_port()
    (directory / "kubeconfig").write_text(_kubeconfig(f"https://localhost:{kube}", directory / "ca.crt"))
    command = [
        str(programs["kube"]),
        *("-address", f"127.0.0.1:{kube}", "-cert", str(directory / "server.crt")),
        *("-key", str(directory / "server.key"), "-requestheader-ca", str(directory / "front-ca.crt")),
    ]
    server = shutil.which("redis-server")
    if server is None:
        raise BenchError("redis-server is not installed")
    store = [server, "--port", str(redis), "--bind", "127.0.0.1", "--save", "", "--dir", str(directory)]
    with _process(command, directory / "kube.log"), _process(store, directory / "redis.log"):
        for port in (kube, redis):
            _await(port)
        yield Surroundings(directory, programs, redis)


def _await_readings(port: int) -> None:
    """Waits until an adapter has read every queue."""
    until = time.monotonic() + _PATIENCE
    while True:
        with urllib.request.urlopen(f"http://127.0.0.1:{port}/status", timeout=10) as answer:
            states = {queue["state"] for queue in json.load(answer)["queues"]}
        if states == {"fresh"}:
            return
        if time.monotonic() > until:
            raise BenchError(f"the adapter has not read every queue: some are {', '.join(sorted(states))}")
        time.sleep(0.1)


def _await(port: int) -> None:
    """Waits until somebody listens."""
    until = time.monotonic() + _PATIENCE
    while not _listens(port):
        if time.monotonic() > until:
            raise BenchError(f"nobody listens on port {port}")
        time.sleep(0.01)


def _listens(port: int) -> bool:
    with socket.socket() as probe:
        return probe.connect_ex(("127.0.0.1", port)) == 0


def _kubeconfig(server: str, ca: Path) -> str:
    return json.dumps(
        {
            "apiVersion": "v1",
            "kind": "Config",
            "current-context": "bench",
            "contexts": [{"name": "bench", "context": {"cluster": "bench", "user": "bench"}}],
            "clusters": [{"name": "bench", "cluster": {"server": server, "certificate-authority": str(ca)}}],
            "users": [{"name": "bench", "user": {"token": "bench"}}],
        }
    )


@contextmanager
def reference(around: Surroundings, *, queues: int = QUEUES) -> Iterator[Running]:
    """The least server on sigs.k8s.io/custom-metrics-apiserver."""
    port = free_port()
    kubeconfig = str(around.path("kubeconfig"))
    command = [
        str(around.programs["reference"]),
        *(f"--{kind}-kubeconfig={kubeconfig}" for kind in ("lister", "authentication", "authorization")),
        f"--tls-cert-file={around.path('server.crt')}",
        f"--tls-private-key-file={around.path('server.key')}",
        "--bind-address=127.0.0.1",
        f"--secure-port={port}",
        f"--queues={queues}",
    ]
    with _answering("go", command, around, port) as running:
        yield running


@contextmanager
def adapter(around: Surroundings, *, queues: int = QUEUES) -> Iterator[Running]:
    """Our adapter, with as many Redis streams as queues."""
    port, http = free_port(), free_port()
    _fill(around.redis_port, queues)
    config = around.path(f"adapter-{queues}.yaml")
    config.write_text(_config(around, port=port, http=http, queues=queues))
    command = [sys.executable, "-m", "ottoscaler", "adapter", "--config", str(config)]
    command += ["--kubeconfig", str(around.path("kubeconfig"))]
    with _answering("ours", command, around, port) as running:
        _await_readings(http)
        yield running


@contextmanager
def server(around: Surroundings, *, queues: int = QUEUES) -> Iterator[Running]:
    """Our API server alone, with values that lie in memory as the reference's do."""
    port = free_port()
    command = [
        sys.executable,
        "-m",
        "tests.bench.static_server",
        str(around.directory),
        str(port),
        str(queues),
    ]
    with _answering("ours", command, around, port) as running:
        yield running


def _config(around: Surroundings, *, port: int, http: int, queues: int) -> str:
    certificate = {"certificate": str(around.path("server.crt")), "key": str(around.path("server.key"))}
    # read as often as by default, but for the many, whose reading is not what is measured
    every = {"interval": "10m", "maxAge": "1h"} if queues > QUEUES else {}
    url = f"redis://127.0.0.1:{around.redis_port}/0"
    return json.dumps(
        {
            "api": {"address": f"127.0.0.1:{port}", "certificate": {"files": certificate}},
            "http": {"address": f"127.0.0.1:{http}"},
            "log": {"level": "warning"},
            "queues": [
                {"name": name, "redis": {"url": url, "stream": name, "group": "workers"}, **every}
                for name in (f"queue-{number:05}" for number in range(queues))
            ],
        }
    )


def _fill(port: int, queues: int) -> None:
    """Streams with a few entries each, and a consumer group that has read none."""
    with socket.create_connection(("127.0.0.1", port)) as connection:
        for number in range(queues):
            name = f"queue-{number:05}"
            commands = [f"DEL {name}", f"XGROUP CREATE {name} workers 0 MKSTREAM"]
            commands += [f"XADD {name} * n {entry}" for entry in range(number % 7)]
            connection.sendall("".join(f"{command}\r\n" for command in commands).encode())
        connection.sendall(b"ECHO filled\r\n")
        tail = b""
        while not tail.endswith(b"filled\r\n"):
            tail = (tail + connection.recv(65536))[-64:]


@contextmanager
def _process(command: list[str], log: Path, **environ: str) -> Iterator[subprocess.Popen[bytes]]:
    with log.open("wb") as out:
        process = subprocess.Popen(
            command, stdin=subprocess.DEVNULL, stdout=out, stderr=out, env={**os.environ, **environ}
        )
        try:
            yield process
        finally:
            process.terminate()
            with suppress(subprocess.TimeoutExpired):
                process.wait(10)
            process.kill()
            process.wait()


@contextmanager
def _answering(name: str, command: list[str], around: Surroundings, port: int) -> Iterator[Running]:
    """Starts a contender and waits for its first good answer."""
    log = around.path(f"{name}.log")
    started = time.perf_counter()
    with _process(command, log, **_BYTECODE) as process:
        while not _answers(around, port):
            if process.poll() is not None or time.perf_counter() - started > _PATIENCE:
                raise BenchError(f"{name} does not answer:\n{log.read_text()[-2000:]}")
            time.sleep(0.002)
        yield Running(name, port, process.pid, time.perf_counter() - started, _cpu(process.pid))


def _cpu(pid: int) -> float:
    """Seconds in user and kernel mode so far."""
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def _answers(around: Surroundings, port: int) -> bool:
    import http.client
    import ssl

    context = ssl.create_default_context(cafile=str(around.path("ca.crt")))
    context.load_cert_chain(around.path("front.crt"), around.path("front.key"))
    connection = http.client.HTTPSConnection("localhost", port, context=context, timeout=2)
    headers = {"X-Remote-User": "probe", "X-Remote-Group": "system:masters"}
    try:
        connection.request("GET", f"{TARGET}00001", headers=headers)
        return connection.getresponse().status == 200
    except OSError:
        return False
    finally:
        connection.close()
