"""Makes aiohttp read the machine's certificate authorities when it first needs them, not when imported.

aiohttp makes its default TLS contexts at import, each with every CA of the machine: 2 MiB and up to a tenth
of a second in a process that may talk to nobody but the cluster's own API, whose CA is another one. Call
`import_aiohttp` before anything else imports it; later it has no effect, and no harm.
"""

import ssl
import sys
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from typing import Any


class _LateTrust(ssl.SSLContext):
    """What `ssl.create_default_context()` returns, but for the moment at which the CAs are read."""

    _read = False

    def _read_authorities(self) -> None:
        if not self._read:
            self._read = True
            self.load_default_certs()

    def wrap_bio(self, *arguments: Any, **named: Any) -> ssl.SSLObject:
        self._read_authorities()
        return super().wrap_bio(*arguments, **named)

    def wrap_socket(self, *arguments: Any, **named: Any) -> ssl.SSLSocket:
        self._read_authorities()
        return super().wrap_socket(*arguments, **named)


def _create_default_context() -> ssl.SSLContext:
    context = _LateTrust(ssl.PROTOCOL_TLS_CLIENT)  # checks certificates and names
    if sys.version_info >= (3, 13):
        context.verify_flags |= ssl.VERIFY_X509_PARTIAL_CHAIN | ssl.VERIFY_X509_STRICT
    return context


def _read_nothing(_context: ssl.SSLContext) -> None:
    """Instead of `set_default_verify_paths`, for the context that checks nothing."""


def import_aiohttp() -> None:
    """Imports aiohttp with default contexts that read the CAs at their first handshake."""
    if "aiohttp" in sys.modules:
        return
    late: dict[Any, dict[str, Any]] = {
        ssl: {"create_default_context": _create_default_context},
        ssl.SSLContext: {"set_default_verify_paths": _read_nothing},
    }
    with ExitStack() as stack:
        for owner, replacements in late.items():
            stack.enter_context(_replaced(owner, replacements))
        import aiohttp  # noqa: F401


@contextmanager
def _replaced(owner: Any, replacements: dict[str, Any]) -> Iterator[None]:
    """Attributes of `owner` are others for a while."""
    own = {name: vars(owner)[name] for name in replacements if name in vars(owner)}
    for name, replacement in replacements.items():
        setattr(owner, name, replacement)
    try:
        yield
    finally:
        for name in replacements:
            if name in own:
                setattr(owner, name, own[name])
            else:
                delattr(owner, name)
