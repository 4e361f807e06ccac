"""What containers are given: variables, files, identities."""

import base64
from pathlib import Path

import pytest

from tests.cluster.podmaker import Json, main_status, pods_in
from tests.waiting import until

pytestmark = pytest.mark.own_cluster

TOKEN = "/var/run/secrets/kubernetes.io/serviceaccount"


def b64(text: str) -> str:
    return base64.b64encode(text.encode()).decode()


async def test_variables_come_from_everywhere(kubeconfig: Path, namespace: str) -> None:
    env = [
        {"name": "PLAIN", "value": "a-$(POD)-$$(POD)-$(NONE)"},
        {"name": "POD", "valueFrom": {"fieldRef": {"fieldPath": "metadata.name"}}},
        {"name": "AGAIN", "value": "b-$(POD)"},
        {"name": "APP", "valueFrom": {"fieldRef": {"fieldPath": "metadata.labels['app']"}}},
        {"name": "IP", "valueFrom": {"fieldRef": {"fieldPath": "status.podIP"}}},
        {"name": "CPU", "valueFrom": {"resourceFieldRef": {"resource": "limits.cpu", "divisor": "1m"}}},
        {"name": "KEY", "valueFrom": {"configMapKeyRef": {"name": "settings", "key": "one"}}},
        {"name": "PASSWORD", "valueFrom": {"secretKeyRef": {"name": "keys", "key": "password"}}},
        {"name": "ABSENT", "valueFrom": {"secretKeyRef": {"name": "none", "key": "x", "optional": True}}},
    ]
    container = {
        "name": "main",
        "image": "busybox",
        "command": ["env"],
        "env": env,
        "envFrom": [{"prefix": "ALL_", "configMapRef": {"name": "settings"}}],
        "resources": {"limits": {"cpu": "250m"}},
    }
    async with pods_in(kubeconfig, namespace) as pods:
        await pods.create_object("configmaps", "settings", data={"one": "1", "two": "2"})
        await pods.create_object("secrets", "keys", data={"password": b64("s3cret")})
        spec = {"restartPolicy": "Never", "containers": [container]}
        await pods.create("vars", spec, labels={"app": "probe"})
        lines = (await pods.output("vars")).splitlines()
        pod = await pods.get("vars")
    assert pod is not None
    seen = dict(line.split("=", 1) for line in lines)
    assert seen["PLAIN"] == "a-$(POD)-$(POD)-$(NONE)"
    assert seen["AGAIN"] == "b-vars"
    assert seen["IP"] == pod["status"]["podIP"]
    expected = {"APP": "probe", "CPU": "250", "KEY": "1", "PASSWORD": "s3cret", "ALL_ONE": "", "ALL_two": "2"}
    assert {name: seen.get(name, "") for name in expected} == expected
    assert "ABSENT" not in seen


async def test_services_become_variables_and_names(kubeconfig: Path, namespace: str) -> None:
    ask = "import os, socket; print(os.environ['QUEUE_PORT'], socket.gethostbyname('queue'))"
    async with pods_in(kubeconfig, namespace) as pods:
        await pods.create_object("services", "queue", spec={"ports": [{"port": 6379}]})
        service = await pods.kube.get(f"/api/v1/namespaces/{namespace}/services/queue")
        address = service["spec"]["clusterIP"]
        await pods.run("asker", ask, python=True)
        assert await pods.output("asker") == f"tcp://{address}:6379 {address}\n"
        await pods.run("plain", "env", enableServiceLinks=False)
        assert "QUEUE_PORT" not in await pods.output("plain")


async def test_a_headless_service_names_its_pods(kubeconfig: Path, namespace: str) -> None:
    server = {"name": "main", "image": "busybox", "command": ["sleep", "1000"]}
    ask = (
        "import socket, sys\n"
        "for name in ('db', 'db-0.db', 'none.db'):\n"
        "    try: print(socket.gethostbyname(name))\n"
        "    except OSError: print('unknown')\n"
    )
    async with pods_in(kubeconfig, namespace) as pods:
        spec = {"clusterIP": "None", "selector": {"app": "db"}, "ports": [{"port": 1}]}
        await pods.create_object("services", "db", spec=spec)
        database = {
            "containers": [server],
            "hostname": "db-0",
            "subdomain": "db",
            "terminationGracePeriodSeconds": 0,
        }
        await pods.create("db-0", database, labels={"app": "db"})
        address = (await pods.until_ready("db-0"))["status"]["podIP"]
        await pods.run("asker", ask, python=True)
        assert (await pods.output("asker")).split() == [address, address, "unknown"]


async def test_a_missing_reference_is_a_configuration_error(kubeconfig: Path, namespace: str) -> None:
    env = [{"name": "X", "valueFrom": {"configMapKeyRef": {"name": "later", "key": "x"}}}]
    async with pods_in(kubeconfig, namespace) as pods:
        await pods.run("early", "echo $X", container={"env": env})

        def refused(pod: Json) -> bool:
            waiting = main_status(pod).get("state", {}).get("waiting", {})
            return (
                waiting.get("reason") == "CreateContainerConfigError"
                and '"later" not found' in waiting["message"]
            )

        await pods.until("early", refused, what="CreateContainerConfigError")
        await pods.create_object("configmaps", "later", data={"x": "here"})
        assert await pods.output("early") == "here\n"


async def test_files_follow_their_sources(kubeconfig: Path, namespace: str) -> None:
    script = "while :; do echo $(cat /etc/app/a) $(cat /labels/app); sleep 0.05; done"
    mounts = [{"name": "app", "mountPath": "/etc/app"}, {"name": "labels", "mountPath": "/labels"}]
    labels = [{"path": "app", "fieldRef": {"fieldPath": "metadata.labels['app']"}}]
    async with pods_in(kubeconfig, namespace) as pods:
        await pods.create_object("configmaps", "app", data={"a": "1"})
        container = {
            "name": "main",
            "image": "busybox",
            "command": ["sh", "-c", script],
            "volumeMounts": mounts,
        }
        spec = {
            "containers": [container],
            "terminationGracePeriodSeconds": 0,
            "volumes": [
                {"name": "app", "configMap": {"name": "app"}},
                {"name": "labels", "downwardAPI": {"items": labels}},
            ],
        }
        await pods.create("reader", spec, labels={"app": "x"})
        await pods.until_logged("reader", "1 x\n")
        await pods.kube.patch(f"/api/v1/namespaces/{namespace}/configmaps/app", {"data": {"a": "2"}})
        await pods.until_logged("reader", "2 x\n")
        await pods.kube.patch(f"{pods.path}/reader", {"metadata": {"labels": {"app": "y"}}})
        await pods.until_logged("reader", "2 y\n")


async def test_a_volume_waits_for_its_source(kubeconfig: Path, namespace: str) -> None:
    mounts = {"volumeMounts": [{"name": "keys", "mountPath": "/keys", "readOnly": True}]}
    items = [{"key": "k", "path": "deep/key", "mode": 0o400}]
    volume = {"name": "keys", "secret": {"secretName": "keys", "items": items}}
    async with pods_in(kubeconfig, namespace) as pods:
        script = "cat /keys/deep/key; stat -L -c ' %a' /keys/deep/key; touch /keys/x || true"
        await pods.run("patient", script, container=mounts, volumes=[volume])

        async def failed_mount() -> bool:
            events = await pods.kube.get(f"/api/v1/namespaces/{namespace}/events")
            return any(event["reason"] == "FailedMount" for event in events["items"])

        await until(failed_mount, what="a FailedMount event")
        await pods.create_object("secrets", "keys", data={"k": b64("open")})
        log = await pods.output("patient")
    assert "open 400\n" in log
    assert "Read-only file system" in log


async def test_a_container_knows_its_service_account(kubeconfig: Path, namespace: str) -> None:
    ask = f"""
import ssl, urllib.request, urllib.error
tls = ssl.create_default_context(cafile="{TOKEN}/ca.crt")
token = open("{TOKEN}/token").read()
print(open("{TOKEN}/namespace").read())
request = urllib.request.Request("https://kubernetes.default.svc/api/v1/nodes", headers={{"Authorization": "Bearer " + token}})
try: urllib.request.urlopen(request, context=tls)
except urllib.error.HTTPError as error: print(error.read().decode())
"""
    async with pods_in(kubeconfig, namespace) as pods:
        user = {"securityContext": {"runAsUser": 65532, "runAsGroup": 65532}}
        await pods.run("who", ask, python=True, container=user)
        log = await pods.output("who")
    assert log.startswith(f"{namespace}\n")
    assert f"system:serviceaccount:{namespace}:default" in log


async def test_tokens_have_the_asked_audience_and_life(kubeconfig: Path, namespace: str) -> None:
    source = {"serviceAccountToken": {"path": "t", "audience": "vault", "expirationSeconds": 600}}
    mounts = {"volumeMounts": [{"name": "tokens", "mountPath": "/tokens"}]}
    read = (
        "import base64, json; body = open('/tokens/t').read().split('.')[1];"
        "c = json.loads(base64.urlsafe_b64decode(body + '==')); print(c['aud'], round(c['exp'] - c['iat']), c['kubernetes.io']['pod']['name'])"
    )
    async with pods_in(kubeconfig, namespace) as pods:
        volume = {"name": "tokens", "projected": {"sources": [source]}}
        await pods.run("bearer", read, python=True, container=mounts, volumes=[volume])
        assert await pods.output("bearer") == "['vault'] 600 bearer\n"


async def test_the_security_context_holds(kubeconfig: Path, namespace: str) -> None:
    context = {
        "runAsUser": 65532,
        "runAsGroup": 3000,
        "runAsNonRoot": True,
        "readOnlyRootFilesystem": True,
        "allowPrivilegeEscalation": False,
        "capabilities": {"drop": ["ALL"]},
    }
    script = (
        "id -u; id -g; id -G; grep -E 'CapEff|CapPrm|CapBnd|NoNewPrivs' /proc/self/status | cut -f2;"
        "touch /x 2>/dev/null || echo read-only; touch /scratch/x && stat -L -c %g /data/file; touch /tmp/x || true"
    )
    mounts = [{"name": "scratch", "mountPath": "/scratch"}, {"name": "data", "mountPath": "/data"}]
    async with pods_in(kubeconfig, namespace) as pods:
        await pods.create_object("configmaps", "data", data={"file": "x"})
        await pods.run(
            "safe",
            script,
            container={"securityContext": context, "volumeMounts": mounts},
            securityContext={"fsGroup": 4000},
            volumes=[
                {"name": "scratch", "emptyDir": {}},
                {"name": "data", "configMap": {"name": "data", "defaultMode": 0o400}},
            ],
        )
        lines = (await pods.output("safe")).splitlines()
        none = "0" * 16
        assert lines[:9] == ["65532", "3000", "3000 4000", none, none, none, "1", "read-only", "4000"]
        assert "Read-only file system" in lines[9]
        await pods.run("root", "true", container={"securityContext": {"runAsNonRoot": True}})
        await pods.until(
            "root",
            lambda pod: (
                main_status(pod).get("state", {}).get("waiting", {}).get("reason")
                == "CreateContainerConfigError"
            ),
            what="a refusal to run as root",
        )


async def test_root_has_only_the_usual_capabilities(kubeconfig: Path, namespace: str) -> None:
    script = "grep CapEff /proc/self/status | cut -f2; touch /anywhere && chown 5:5 /anywhere && stat -c %u /anywhere"
    async with pods_in(kubeconfig, namespace) as pods:
        await pods.run("plain", script)
        assert await pods.output("plain") == "00000000a80425fb\n5\n"
        drop = {"securityContext": {"capabilities": {"drop": ["CHOWN"]}}}
        await pods.run("less", f"{script} || echo refused", container=drop)
        assert (await pods.output("less")).endswith("refused\n")


async def test_sub_paths_and_host_paths(kubeconfig: Path, namespace: str, tmp_path: Path) -> None:
    mounts = [
        {"name": "settings", "mountPath": "/etc/app.conf", "subPath": "conf"},
        {"name": "host", "mountPath": "/host/mine", "subPathExpr": "$(POD)"},
    ]
    env = [{"name": "POD", "valueFrom": {"fieldRef": {"fieldPath": "metadata.name"}}}]
    async with pods_in(kubeconfig, namespace) as pods:
        await pods.create_object("configmaps", "settings", data={"conf": "x=1", "other": "-"})
        volumes = [
            {"name": "settings", "configMap": {"name": "settings"}},
            {"name": "host", "hostPath": {"path": str(tmp_path / "new"), "type": "DirectoryOrCreate"}},
        ]
        script = "cp /etc/app.conf /host/mine/copy"
        await pods.run("copier", script, container={"volumeMounts": mounts, "env": env}, volumes=volumes)
        await pods.output("copier")
    assert (tmp_path / "new" / "copier" / "copy").read_text() == "x=1"


async def test_a_secret_never_shows_on_a_command_line(kubeconfig: Path, namespace: str) -> None:
    env = [{"name": "PASSWORD", "value": "only-in-the-environment"}]
    async with pods_in(kubeconfig, namespace) as pods:
        await pods.run(
            "quiet", "echo up; exec sleep 1000", container={"env": env}, terminationGracePeriodSeconds=0
        )
        await pods.until_logged("quiet", "up")
        lines = [path.read_bytes() for path in Path("/proc").glob("[0-9]*/cmdline") if _readable(path)]
    assert not any(b"only-in-the-environment" in line for line in lines)


def _readable(path: Path) -> bool:
    try:
        return bool(path.read_bytes())
    except OSError:
        return False


async def test_an_object_that_nobody_mounts_stays_closed_to_the_node(
    kubeconfig: Path, namespace: str
) -> None:
    """The Node authorizer is on: what the kubelet reads it may read because of a pod."""
    attributes = {"namespace": namespace, "verb": "get", "resource": "secrets", "name": "private"}
    who = {"user": "system:node:node-1", "groups": ["system:nodes"]}
    async with pods_in(kubeconfig, namespace) as pods:
        await pods.create_object("secrets", "private", data={"k": b64("v")})
        review = {"spec": who | {"resourceAttributes": attributes}}
        answer = await pods.kube.create("/apis/authorization.k8s.io/v1/subjectaccessreviews", review)
    assert answer["status"]["allowed"] is False
