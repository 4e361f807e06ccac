"""The files by which a pod's programs find names: resolv.conf, hosts, hostname."""

from pathlib import Path

from tests.cluster.kubelet.podobject import PodObject
from tests.cluster.kubelet.settings import Settings


def write_identity_files(directory: Path, pod: PodObject, address: str, settings: Settings) -> None:
    """Written once; a container's `/etc` binds them."""
    directory.mkdir(parents=True, exist_ok=True)
    name, subdomain = pod.hostname, pod.spec.get("subdomain")
    domain = f"{pod.namespace}.svc.{settings.domain}"
    names = f"{name}.{subdomain}.{domain}\t{name}" if subdomain else name
    aliases = [f"{a['ip']}\t{' '.join(a['hostnames'])}" for a in pod.spec.get("hostAliases") or []]
    lines = ["127.0.0.1\tlocalhost", "::1\tlocalhost", f"{address}\t{names}", *aliases]
    (directory / "hosts").write_text("\n".join(lines) + "\n")
    (directory / "hostname").write_text(f"{name}\n")
    search = f"{domain} svc.{settings.domain} {settings.domain}"
    (directory / "resolv.conf").write_text(
        f"search {search}\nnameserver {settings.node_ip}\noptions ndots:5 timeout:2\n"
    )
