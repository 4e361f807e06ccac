"""Writes the generated code of `ottoscaler.proto` anew, beside it.

    python -m ottoscaler.orchestrator.protocol [--check]

protoc knows no types for service stubs, so their `.pyi` is written here from the descriptors. With
`--check` nothing is written, and a difference is an error. Needs grpcio-tools (development only).
"""

import sys
import tempfile
from importlib import resources
from pathlib import Path

from google.protobuf import descriptor_pb2

PACKAGE = Path(__file__).parent
ROOT = PACKAGE.parents[2]
PROTO = PACKAGE.relative_to(ROOT) / "ottoscaler.proto"
NAMES = ("ottoscaler_pb2.py", "ottoscaler_pb2.pyi", "ottoscaler_pb2_grpc.py", "ottoscaler_pb2_grpc.pyi")


def generate(target: Path) -> None:
    """Writes the files of `NAMES` under `target`, at the package's path."""
    from grpc_tools import protoc

    target.mkdir(parents=True, exist_ok=True)
    include = resources.files("grpc_tools") / "_proto"
    described = target / "descriptors.binpb"
    status = protoc.main(
        [
            "protoc",
            f"--proto_path={ROOT}",
            f"--proto_path={include}",
            f"--python_out={target}",
            f"--pyi_out={target}",
            f"--grpc_python_out={target}",
            f"--descriptor_set_out={described}",
            str(ROOT / PROTO),
        ]
    )
    if status:
        raise SystemExit(f"protoc failed with status {status}")
    files = descriptor_pb2.FileDescriptorSet.FromString(described.read_bytes()).file
    described.unlink()
    stub = (target / PROTO).with_name("ottoscaler_pb2_grpc.pyi")
    stub.write_text(service_types(files[0]))


def service_types(file: descriptor_pb2.FileDescriptorProto) -> str:
    """The stub file of `ottoscaler_pb2_grpc.py`: asyncio stubs, servicers, and how to add them."""
    module = "ottoscaler_pb2"
    lines = [
        "from collections.abc import AsyncIterator, Awaitable",
        "from typing import Any",
        "",
        "import grpc.aio",
        "",
        f"from ottoscaler.orchestrator.protocol import {module}",
    ]
    for service in file.service:
        lines += [
            "",
            f"class {service.name}Stub:",
            "    def __init__(self, channel: grpc.aio.Channel) -> None: ...",
        ]
        lines += [f"    {method.name}: {_callable(method, module)}" for method in service.method]
        lines += ["", f"class {service.name}Servicer:"]
        for method in service.method:
            request, response = _names(method, module)
            taken = f"AsyncIterator[{request}]" if method.client_streaming else request
            given = f"AsyncIterator[{response}]" if method.server_streaming else f"Awaitable[{response}]"
            argument = "request_iterator" if method.client_streaming else "request"
            lines.append(
                f"    def {method.name}(self, {argument}: {taken}, "
                f"context: grpc.aio.ServicerContext[Any, Any]) -> {given}: ..."
            )
        arguments = f"servicer: {service.name}Servicer, server: grpc.aio.Server"
        lines += ["", f"def add_{service.name}Servicer_to_server({arguments}) -> None: ..."]
    return "\n".join(lines) + "\n"


def _names(method: descriptor_pb2.MethodDescriptorProto, module: str) -> tuple[str, str]:
    return (
        f"{module}.{method.input_type.rpartition('.')[2]}",
        f"{module}.{method.output_type.rpartition('.')[2]}",
    )


def _callable(method: descriptor_pb2.MethodDescriptorProto, module: str) -> str:
    kind = ("Stream" if method.client_streaming else "Unary") + (
        "Stream" if method.server_streaming else "Unary"
    )
    request, response = _names(method, module)
    return f"grpc.aio.{kind}MultiCallable[{request}, {response}]"


def main(arguments: list[str]) -> int:
    """0, or with `--check` 1 when a file differs."""
    with tempfile.TemporaryDirectory() as directory:
        generate(Path(directory))
        made = {name: (Path(directory) / PROTO).with_name(name).read_bytes() for name in NAMES}
    if "--check" in arguments:
        stale = [name for name in NAMES if (PACKAGE / name).read_bytes() != made[name]]
        if stale:
            print(f"differ from ottoscaler.proto: {', '.join(stale)}; run `make proto`", file=sys.stderr)
        return 1 if stale else 0
    for name, content in made.items():
        (PACKAGE / name).write_bytes(content)
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
