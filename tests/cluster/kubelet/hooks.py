"""`postStart` and `preStop`."""

import asyncio
from typing import Any, Literal

from tests.cluster.kubelet.probers import Outcome, Probers
from tests.cluster.kubelet.probes import Execute, port_number

Json = dict[str, Any]
HookName = Literal["postStart", "preStop"]
_LONGEST = 24 * 3600.0


async def run_hook(
    name: HookName, container: Json, *, address: str, probers: Probers, execute: Execute
) -> Outcome:
    """Runs the hook to its end; without one, or when it works, the outcome is healthy."""
    match (container.get("lifecycle") or {}).get(name):
        case {"exec": action}:
            output = await execute(list(action["command"]), _LONGEST)
            return Outcome(output.code == 0, f"command exited with {output.code}: {output.text.strip()}")
        case {"httpGet": action}:
            port = port_number(action.get("port", 80), container.get("ports") or [])
            return await probers.http(action, address, port)
        case {"sleep": action}:
            await asyncio.sleep(float(action["seconds"]))
    return Outcome(True)
