"""What people type, and what they get: tables or JSON, one line and a status for every failure."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
import yaml
from typer.testing import CliRunner, Result

import ottoscaler
from ottoscaler.adapter.sources import registry
from ottoscaler.cli.commands import app


@pytest.fixture(autouse=True)
def _fake_block(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(registry, "_BUILT_IN", {"fake": "tests.unit.adapter.fake_backend:BACKEND"})
    for name in ("NAMESPACE", "DEPLOYMENT_NAME", "MIN_REPLICAS", "MAX_REPLICAS", "TARGET_JOBS_PER_POD"):
        monkeypatch.delenv(f"AUTO_SCALE_{name}", raising=False)


def ottoscaler_(*arguments: str | Path) -> Result:
    return CliRunner().invoke(app, [str(argument) for argument in arguments])


def test_the_version_is_told() -> None:
    assert ottoscaler_("--version").stdout == f"ottoscaler {ottoscaler.__version__}\n"


def test_help_names_every_command() -> None:
    text = ottoscaler_("--help").stdout
    commands = "adapter apiservice config event hpa metrics orchestrator pipeline record scale"
    for command in commands.split():
        assert f" {command} " in text


@pytest.mark.parametrize("group", ["event", "pipeline", "scale"])
def test_a_group_that_runs_without_the_others_is_the_same(
    group: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    for arguments in ([group, "--help"], [group], [group, "nonsense"]):
        alone = subprocess.run(
            [sys.executable, "-m", "ottoscaler", *arguments],
            capture_output=True,
            text=True,
            check=False,
            env=os.environ | {"COLUMNS": "80", "TERM": "dumb"},
        )
        monkeypatch.setenv("COLUMNS", "80")
        monkeypatch.setenv("TERM", "dumb")
        among = CliRunner().invoke(app, arguments, prog_name="ottoscaler")
        assert (alone.returncode, alone.stdout, alone.stderr) == (
            among.exit_code,
            among.stdout,
            among.stderr,
        )


def test_a_command_imports_grpc_and_redis_only_when_it_calls() -> None:
    late = "[name for name in ('grpc', 'google.protobuf', 'redis') if name in sys.modules]"
    for arguments in (["--version"], ["scale", "--help"], ["hpa", "render", "x"]):
        code = f"import sys; sys.argv = ['ottoscaler', *{arguments}]\nfrom ottoscaler.cli.main import main\ntry: main()\nexcept SystemExit: sys.exit(', '.join({late}))"
        ended = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
        assert (ended.returncode, ended.stderr) == (1, "\n"), f"{arguments} imports {ended.stderr}"


def test_a_good_configuration_is_shown_for_people_and_for_programs(tmp_path: Path) -> None:
    path = tmp_path / "config.yaml"
    path.write_text("queues: [{name: jobs, fake: {}, maxAge: 1m, namespaces: [red, blue]}]")
    shown = ottoscaler_("config", "check", path)
    assert shown.exit_code == 0
    assert shown.stdout.splitlines()[1].split() == ["jobs", "fake-queue", "1m0s", "red,", "blue"]
    (queue,) = json.loads(ottoscaler_("config", "check", path, "-o", "json").stdout)["queues"]
    assert queue == {
        "queue": "jobs",
        "kind": "fake-queue",
        "interval": 5.0,
        "maxAge": 60.0,
        "namespaces": ["red", "blue"],
    }


def test_a_bad_configuration_is_all_its_problems_and_status_2(tmp_path: Path) -> None:
    path = tmp_path / "config.yaml"
    path.write_text("queues: [{name: jobs, fake: {strem: x}}]\nlogs: {}")
    shown = ottoscaler_("config", "check", path)
    assert shown.exit_code == 2
    assert shown.stderr.splitlines() == [
        f'{path}:1: queues[0].fake.strem: unknown key, did you mean "stream"?',
        f'{path}:2: logs: unknown key, did you mean "log"?',
    ]
    report = json.loads(ottoscaler_("config", "check", path, "-o", "json").stdout)
    assert report["valid"] is False
    assert report["problems"][0] == {
        "place": f"{path}:1",
        "path": "queues[0].fake.strem",
        "message": 'unknown key, did you mean "stream"?',
    }


def test_the_schema_describes_queues_and_their_backends() -> None:
    schema = json.loads(ottoscaler_("config", "schema").stdout)
    queue = schema["properties"]["queues"]["items"]
    assert queue["oneOf"] == [{"required": ["fake"]}]
    assert queue["properties"]["fake"]["properties"]["minIdle"]["default"] == "30s"
    assert queue["additionalProperties"] is False


def test_an_hpa_is_rendered_as_yaml_or_json() -> None:
    rendered = ottoscaler_("hpa", "render", "generator", "-n", "jobs", "--max", "5", "--queue", "work")
    manifest = yaml.safe_load(rendered.stdout)
    assert manifest["metadata"] == {"name": "generator", "namespace": "jobs"}
    assert manifest["spec"]["maxReplicas"] == 5
    metric = manifest["spec"]["metrics"][0]["external"]["metric"]
    assert metric == {"name": "queue_demand", "selector": {"matchLabels": {"queue": "work"}}}
    again = ottoscaler_(
        "hpa", "render", "generator", "-n", "jobs", "--max", "5", "--queue", "work", "-o", "json"
    )
    assert json.loads(again.stdout) == manifest


def test_an_hpa_of_a_derived_metric_names_no_queue() -> None:
    rendered = ottoscaler_("hpa", "render", "worker", "--metric", "total_demand")
    metric = yaml.safe_load(rendered.stdout)["spec"]["metrics"][0]["external"]["metric"]
    assert metric == {"name": "total_demand", "selector": {"matchLabels": {}}}


def test_an_hpa_takes_the_variables_of_existing_installations(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AUTO_SCALE_DEPLOYMENT_NAME", "eventstorming-generator")
    monkeypatch.setenv("AUTO_SCALE_NAMESPACE", "prod")
    monkeypatch.setenv("AUTO_SCALE_MAX_REPLICAS", "7")
    monkeypatch.setenv("AUTO_SCALE_TARGET_JOBS_PER_POD", "2")
    manifest = yaml.safe_load(ottoscaler_("hpa", "render").stdout)
    assert manifest["metadata"] == {"name": "eventstorming-generator", "namespace": "prod"}
    assert (manifest["spec"]["minReplicas"], manifest["spec"]["maxReplicas"]) == (1, 7)
    assert manifest["spec"]["metrics"][0]["external"]["target"]["averageValue"] == "2"


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("hpa", "render", "x", "--max", "0"), "error: maxReplicas is 0: must be at least minReplicas, 1"),
        (("hpa", "render", "x", "--jobs-per-pod", "0"), "error: jobsPerPod is '0': must be a quantity above 0, such as 2 or 500m"),
        (("hpa", "render", "x", "--metric", "total", "--queue", "q"), "error: metric total is not one of a queue (queue_demand, queue_failed, queue_oldest_waiting_seconds, queue_processing, queue_stalled, queue_waiting): leave out queue q"),
        (("hpa", "render", "x", "-o", "xml"), "error: -o xml: use yaml or json"),
        (("record", "--out", "-", "--interval", "5"), "error: --interval: expected a duration such as 30s, 5m or 1h30m, got '5'"),
        (("record", "--out", "-", "--config", "a", "--url", "b"), "error: give either --config or --url"),
        (("scale", "up", "--server", "localhost"), "error: --server: address 'localhost' is not host:port with a port up to 65535"),
        (("scale", "status", "--server", ":9090"), "error: --server: ':9090' needs a host and a port: localhost:9090"),
        (("scale", "status", "--timeout", "30"), "error: --timeout: expected a duration such as 30s, 5m or 1h30m, got '30'"),
        (("scale", "status", "--cert-file", "x"), "error: --cert-file and --key-file belong together: give both or none"),
        (("scale", "status", "--server-name", "x"), "error: --ca-file is missing: without the CA of the server there is no TLS"),
        (("scale", "status", "--ca-file", "/none"), "error: --ca-file: /none cannot be read: No such file or directory"),
        (("scale", "status", "--ca-file", __file__), f"error: --ca-file: {__file__} is not in PEM form"),
        (("pipeline", "run"), "error: give either --type simple|full|parallel, or --file FILE"),
        (("pipeline", "run", "--type", "all"), "error: --type all: use simple, full or parallel"),
        (("pipeline", "run", "--file", "/none"), "error: /none: cannot be read: No such file or directory"),
        (("event", "send", "--type", "scale_down"), "error: --task is missing: scale_down needs the task whose workers are to go"),
        (("event", "send", "--workers", "5000"), "error: pod_count is 5000: at most 1000 workers may be asked for at once"),
        (("event", "send", "--field", "x"), "error: --field 'x': write NAME=VALUE"),
        (("event", "send", "--field", "reason=x"), "error: --field reason: is given already, or has an option of its own"),
        (("event", "send", "--redis", "x", "--config", "y"), "error: give either --config, or --redis and --stream"),
        (("event", "send", "--redis", "localhost:6379"), "error: --redis: url has a scheme that is not known: expected redis://host:port/database, or rediss:// for TLS"),
        (("apiservice", "register", "--address", "10.0.0.1"), "error: --address: address '10.0.0.1' is not host:port with a port up to 65535"),
    ],
)  # fmt: skip
def test_wrong_input_is_one_line_and_status_2(arguments: tuple[str, ...], message: str) -> None:
    ended = ottoscaler_(*arguments)
    assert (ended.exit_code, ended.stderr) == (2, f"{message}\n")


def test_a_cluster_that_cannot_be_found_is_one_line(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("KUBECONFIG", str(tmp_path / "none"))
    monkeypatch.delenv("KUBERNETES_SERVICE_HOST", raising=False)
    for command in (("apiservice", "status"), ("metrics", "list")):
        ended = ottoscaler_(*command)
        assert ended.exit_code == 1
        assert ended.stderr.startswith("error: no API server: not in a pod, and the kubeconfig ")
        assert ended.stderr.count("\n") == 1
