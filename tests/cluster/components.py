"""What a control plane consists of, as command lines.

The flags are kubeadm's where it has them; the others make a cluster quick to start and small.
"""

import json
import sys
from dataclasses import dataclass, field
from pathlib import Path

from tests.cluster.addresses import API_PORT, GATEWAY, NODE, NODE_IP, POD_CIDR, SERVICE_CIDR
from tests.cluster.pki import FRONT_PROXY_NAME

START_ORDER = ("etcd", "apiserver", "controller-manager", "scheduler", "kubelet", "proxy")
_ETCD = "http://127.0.0.1:2379"


@dataclass(frozen=True, slots=True)
class Component:
    """A process of the cluster."""

    name: str
    command: tuple[str, ...]
    environ: dict[str, str] = field(default_factory=dict)
    grace_seconds: float = 8.0
    """Between SIGTERM and SIGKILL."""


def components(binary: Path, directory: Path, *, hpa_sync: str = "1s") -> dict[str, Component]:
    """All of them by name; `hpa_sync` is the HPA controller's period."""
    pki = directory / "pki"
    every = (
        # It waits 7 s for the API server's watches to end; killed, it loses nothing that it answered.
        Component("etcd", (str(binary), "etcd", *_etcd(directory)), grace_seconds=0.5),
        Component("apiserver", (str(binary), "kube-apiserver", *_apiserver(pki))),
        Component("controller-manager", (str(binary), "kube-controller-manager", *_manager(pki, hpa_sync))),
        Component("scheduler", (str(binary), "kube-scheduler", *_scheduler(pki))),
        Component(
            "kubelet",
            (sys.executable, "-m", "tests.cluster.kubelet", str(directory), NODE, NODE_IP, GATEWAY),
        ),
        Component("proxy", (str(binary), "kube-proxy", "--config", str(_proxy(directory)))),
    )
    return {each.name: each for each in every}


def _etcd(directory: Path) -> list[str]:
    return [
        f"--data-dir={directory / 'etcd'}",
        f"--listen-client-urls={_ETCD}",
        f"--advertise-client-urls={_ETCD}",
        "--listen-peer-urls=http://127.0.0.1:2380",
        "--unsafe-no-fsync",
        "--log-level=warn",
    ]


def _apiserver(pki: Path) -> list[str]:
    return [
        f"--etcd-servers={_ETCD}",
        f"--advertise-address={NODE_IP}",
        "--bind-address=0.0.0.0",
        f"--secure-port={API_PORT}",
        f"--tls-cert-file={pki / 'apiserver.crt'}",
        f"--tls-private-key-file={pki / 'apiserver.key'}",
        f"--client-ca-file={pki / 'ca.crt'}",
        f"--service-account-key-file={pki / 'service-account.pub'}",
        f"--service-account-signing-key-file={pki / 'service-account.key'}",
        "--service-account-issuer=https://kubernetes.default.svc.cluster.local",
        f"--service-cluster-ip-range={SERVICE_CIDR}",
        "--authorization-mode=Node,RBAC",
        "--enable-admission-plugins=NodeRestriction",
        "--enable-aggregator-routing=true",
        f"--requestheader-client-ca-file={pki / 'front-proxy-ca.crt'}",
        f"--requestheader-allowed-names={FRONT_PROXY_NAME}",
        "--requestheader-username-headers=X-Remote-User",
        "--requestheader-group-headers=X-Remote-Group",
        "--requestheader-extra-headers-prefix=X-Remote-Extra-",
        f"--proxy-client-cert-file={pki / 'front-proxy-client.crt'}",
        f"--proxy-client-key-file={pki / 'front-proxy-client.key'}",
        f"--kubelet-certificate-authority={pki / 'ca.crt'}",
        f"--kubelet-client-certificate={pki / 'apiserver-kubelet-client.crt'}",
        f"--kubelet-client-key={pki / 'apiserver-kubelet-client.key'}",
        "--kubelet-preferred-address-types=InternalIP",
        "--allow-privileged=true",
        "--profiling=false",
        "--shutdown-send-retry-after=true",  # ends within 2 s, not when the last watch does
        "--event-ttl=1h",
    ]


def _manager(pki: Path, hpa_sync: str) -> list[str]:
    return [
        f"--kubeconfig={pki / 'controller-manager.kubeconfig'}",
        f"--service-account-private-key-file={pki / 'service-account.key'}",
        f"--root-ca-file={pki / 'ca.crt'}",
        "--use-service-account-credentials",
        "--leader-elect=false",
        f"--horizontal-pod-autoscaler-sync-period={hpa_sync}",
        "--bind-address=127.0.0.1",
        f"--cluster-cidr={POD_CIDR}",
        "--allocate-node-cidrs=false",
        "--node-monitor-period=1s",
        "--node-monitor-grace-period=20s",
        "--kube-api-qps=300",
        "--kube-api-burst=600",
    ]


def _scheduler(pki: Path) -> list[str]:
    kubeconfig = pki / "scheduler.kubeconfig"
    return [
        f"--kubeconfig={kubeconfig}",
        f"--authentication-kubeconfig={kubeconfig}",
        f"--authorization-kubeconfig={kubeconfig}",
        "--kube-api-qps=300",
        "--kube-api-burst=600",
        "--leader-elect=false",
        "--bind-address=127.0.0.1",
    ]


def _proxy(directory: Path) -> Path:
    """kube-proxy takes these settings only from a file."""
    path = directory / "proxy.json"
    settings = {
        "apiVersion": "kubeproxy.config.k8s.io/v1alpha1",
        "kind": "KubeProxyConfiguration",
        "mode": "nftables",
        "clusterCIDR": POD_CIDR,
        "hostnameOverride": NODE,
        "bindAddress": "127.0.0.1",
        "metricsBindAddress": "127.0.0.1:10249",
        "healthzBindAddress": "127.0.0.1:10256",
        "nodePortAddresses": ["primary"],
        "clientConnection": {"kubeconfig": str(directory / "pki" / "proxy.kubeconfig")},
        "nftables": {"minSyncPeriod": "100ms", "syncPeriod": "30s"},
        "conntrack": {"maxPerCore": 0, "min": 0, "tcpEstablishedTimeout": "0s", "tcpCloseWaitTimeout": "0s"},
    }
    path.write_text(json.dumps(settings))
    return path
