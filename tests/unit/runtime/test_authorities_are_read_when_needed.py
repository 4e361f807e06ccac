import subprocess
import sys

_CHECK = """
import ssl, sys
from ottoscaler.runtime.lazy_trust import import_aiohttp
usual = ssl.create_default_context
import_aiohttp()
assert ssl.create_default_context is usual
assert "set_default_verify_paths" not in vars(ssl.SSLContext)
from aiohttp import connector
context = connector._SSL_CONTEXT_VERIFIED
assert context.verify_mode == ssl.CERT_REQUIRED and context.check_hostname
assert context.minimum_version == usual().minimum_version
assert context.verify_flags == usual().verify_flags
assert context.options == usual().options | ssl.OP_NO_COMPRESSION
assert context.get_ca_certs() == []
context.wrap_bio(ssl.MemoryBIO(), ssl.MemoryBIO(), server_hostname="example.com")
assert context.get_ca_certs() == usual().get_ca_certs()
assert connector._SSL_CONTEXT_UNVERIFIED.verify_mode == ssl.CERT_NONE
assert connector._SSL_CONTEXT_UNVERIFIED.get_ca_certs() == []
"""


def test_aiohttps_default_context_is_the_usual_one_with_authorities_at_the_first_handshake() -> None:
    result = subprocess.run([sys.executable, "-c", _CHECK], capture_output=True, text=True, check=False)
    assert result.returncode == 0, result.stderr
