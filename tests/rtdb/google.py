"""A token endpoint as Google's for service accounts, and a key that it knows.

It checks the signed assertion as the real one does (signature, audience, scopes, times) and gives out tokens
that the database's `Tokens` accept until they end.
"""

import contextlib
import json
import secrets
from collections.abc import AsyncIterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from aiohttp import web
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import rsa
from google.auth import jwt
from google.auth.exceptions import GoogleAuthError

from tests.rtdb.access import Tokens

AUDIENCE = "https://oauth2.googleapis.com/token"
GRANT = "urn:ietf:params:oauth:grant-type:jwt-bearer"
EMAIL = "adapter@demo.iam.gserviceaccount.com"
_KEY = rsa.generate_private_key(public_exponent=65537, key_size=2048)


@dataclass
class TokenEndpoint:
    """Its state; `url` is where it listens."""

    tokens: Tokens
    lifetime: float = 3600.0
    """Seconds that the tokens it gives are good for."""
    status: int = 200
    url: str = ""
    grants: list[dict[str, Any]] = field(default_factory=list)
    """The claims of every assertion that was accepted."""

    def write_key(self, file: Path) -> Path:
        """A service-account file whose assertions are accepted here."""
        pem = _KEY.private_bytes(
            serialization.Encoding.PEM,
            serialization.PrivateFormat.PKCS8,
            serialization.NoEncryption(),
        )
        content = {
            "type": "service_account",
            "project_id": "demo",
            "private_key_id": "1",
            "private_key": pem.decode(),
            "client_email": EMAIL,
            "client_id": "1",
            "token_uri": self.url,
        }
        file.write_text(json.dumps(content))
        return file

    async def handle(self, request: web.Request) -> web.Response:
        """`POST`: an assertion for a token."""
        if self.status != 200:
            return web.json_response({"error": "invalid_grant"}, status=self.status)
        form = await request.post()
        public = _KEY.public_key().public_bytes(
            serialization.Encoding.PEM, serialization.PublicFormat.SubjectPublicKeyInfo
        )
        if form["grant_type"] != GRANT:
            return web.json_response({"error": "unsupported_grant_type"}, status=400)
        try:
            claims = jwt.decode(  # type: ignore[no-untyped-call]
                str(form["assertion"]), certs={"1": public}, audience=AUDIENCE
            )
        except (ValueError, GoogleAuthError, KeyError) as error:
            return web.json_response({"error": "invalid_grant", "error_description": str(error)}, status=400)
        self.grants.append(dict(claims))
        token = secrets.token_urlsafe(16)
        self.tokens.issue(token, seconds=self.lifetime)
        answer = {"access_token": token, "expires_in": int(self.lifetime), "token_type": "Bearer"}
        return web.json_response(answer)


@contextlib.asynccontextmanager
async def token_endpoint(tokens: Tokens, *, lifetime: float = 3600.0) -> AsyncIterator[TokenEndpoint]:
    """Serves one on a free port of loopback."""
    endpoint = TokenEndpoint(tokens, lifetime)
    app = web.Application()
    app.router.add_post("/token", endpoint.handle)
    runner = web.AppRunner(app, access_log=None, shutdown_timeout=0.02)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0).start()
    endpoint.url = f"http://127.0.0.1:{runner.addresses[0][1]}/token"
    try:
        yield endpoint
    finally:
        await runner.cleanup()
