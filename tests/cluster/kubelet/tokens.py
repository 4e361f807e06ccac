"""Service-account tokens for pods, renewed at 80 % of their life.

The mounted file is the only memory: a token says itself when it was made and when it ends, so a
restarted kubelet asks for no new ones.
"""

import asyncio
import base64
from typing import Any

import msgspec

from ottoscaler.runtime.kube import KubeClient, KubeError
from ottoscaler.runtime.tasks import Backoff
from tests.cluster.kubelet.errors import VolumeProblem
from tests.cluster.kubelet.podobject import PodObject

Json = dict[str, Any]
_RENEW_AT = 0.8
_LONGEST = 24 * 3600.0
"""A kubelet renews every token once a day, however long it lives."""
_ATTEMPTS = 20


async def request_token(api: KubeClient, pod: PodObject, source: Json) -> str:
    """A new token for a `serviceAccountToken` projection. Raises `VolumeProblem`."""
    spec: Json = {
        "expirationSeconds": int(source.get("expirationSeconds") or 3600),
        "boundObjectRef": {"kind": "Pod", "apiVersion": "v1", "name": pod.name, "uid": pod.uid},
    }
    if source.get("audience"):
        spec["audiences"] = [source["audience"]]
    path = f"/api/v1/namespaces/{pod.namespace}/serviceaccounts/{pod.service_account}/token"
    body = {"apiVersion": "authentication.k8s.io/v1", "kind": "TokenRequest", "spec": spec}
    delays = Backoff(initial=0.02, maximum=0.5)
    for attempt in range(1, _ATTEMPTS + 1):
        try:
            answer = await api.create(path, body)
            return str(answer["status"]["token"])
        except KubeError as error:
            # The Node authorizer hears of a new pod a moment after us.
            if error.status != 403 or attempt == _ATTEMPTS:
                raise VolumeProblem(f"failed to fetch token: {error.message}") from error
            await asyncio.sleep(delays.next())
    raise AssertionError("unreachable")


def renewal_time(token: str) -> float:
    """Seconds since the epoch at which the token is to be replaced; 0 for what is no token."""
    try:
        body = token.split(".")[1]
        claims: Json = msgspec.json.decode(base64.urlsafe_b64decode(body + "=" * (-len(body) % 4)))
        issued = float(claims["iat"])
        # Tokens for the API server live for a year to spare old clients; this is when they should end.
        ends = min(float(claims["exp"]), float(claims["kubernetes.io"].get("warnafter", claims["exp"])))
    except (IndexError, KeyError, ValueError, msgspec.DecodeError):
        return 0.0
    return min(issued + _RENEW_AT * (ends - issued), issued + _LONGEST)
