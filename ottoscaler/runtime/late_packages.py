"""Packages whose modules can be imported without everything that the package itself imports.

`import redis.asyncio.connection` runs the `__init__` of `redis` first, and with it every command of every
Redis module: 5 MiB for a process that sends its own commands over plain connections. A package put off
here runs its `__init__` when something is first asked of it that only `__init__` defines, so nothing is
missing; it is only late.
"""

import importlib
import importlib.util
import sys
from importlib.machinery import ModuleSpec
from types import ModuleType
from typing import Any


class _LatePackage(ModuleType):
    """A package that has its path, so that its modules are found, and not yet its contents."""

    def __getattr__(self, name: str) -> Any:
        if name.startswith("__"):  # the import system's own questions
            raise AttributeError(f"module {self.__name__!r} has no attribute {name!r}")
        if importlib.util.find_spec(f"{self.__name__}.{name}") is not None:
            return importlib.import_module(f"{self.__name__}.{name}")
        spec: ModuleSpec | None = self.__spec__
        object.__setattr__(self, "__class__", ModuleType)
        if spec is not None and spec.loader is not None:
            spec.loader.exec_module(self)
        return getattr(self, name)


def put_off(*packages: str) -> None:
    """Puts off the `__init__` of `packages` (a package before those inside it); without effect on one that
    is imported already, or not installed."""
    for name in packages:
        if name in sys.modules or (spec := importlib.util.find_spec(name)) is None:
            continue
        package = importlib.util.module_from_spec(spec)
        object.__setattr__(package, "__class__", _LatePackage)
        sys.modules[name] = package
        parent, _, child = name.rpartition(".")
        if parent:
            setattr(sys.modules[parent], child, package)
