"""docs/orchestrator.md: every setting with its default, and examples that are what the programs take."""

import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any, get_args

import helm_python
import msgspec
import yaml

from ottoscaler.cli.pipeline_file import from_text
from ottoscaler.orchestrator.config.load import load
from ottoscaler.orchestrator.config.model import Root
from ottoscaler.runtime.redis import RedisConnection

ROOT = Path(__file__).parents[3]
PAGE = ROOT / "docs" / "orchestrator.md"
ROW = re.compile(r"\| `([\w.]+)` \| (?:`([^`]*)`|none) \|.*")


def documented() -> dict[str, str | None]:
    """Key to default; None where there is none."""
    section = PAGE.read_text().partition("\n## Configuration\n")[2].partition("\n## ")[0]
    rows = [ROW.fullmatch(line) for line in section.splitlines() if line.startswith("| `")]
    assert all(rows), "a row is not of the table's form"
    return {row[1]: row[2] for row in rows if row}


def settings(kind: type[msgspec.Struct], prefix: str = "") -> Iterator[tuple[str, str | None]]:
    for field in msgspec.structs.fields(kind):
        path = f"{prefix}{field.encode_name}"
        block = _block(field.type)
        if block is not None and block is not RedisConnection:
            yield from settings(block, f"{path}.")
        else:
            yield path, _shown(field.default)


def _block(kind: Any) -> type[msgspec.Struct] | None:
    kinds = (kind, *get_args(kind))
    return next((each for each in kinds if isinstance(each, type) and issubclass(each, msgspec.Struct)), None)


def _shown(default: Any) -> str | None:
    match default:
        case RedisConnection():
            return default.url
        case bool():
            return str(default).lower()
        case None | msgspec.NODEFAULT:
            return None
        case _:
            return str(default)


def test_the_table_has_every_key_with_its_default() -> None:
    assert documented() == dict(settings(Root))


def test_the_example_of_mock_mode_is_a_configuration() -> None:
    settings = load(ROOT / "examples" / "orchestrator-mock.yaml", {})
    assert settings.mock
    assert settings.handler is None
    assert settings.events is not None


def test_the_pipeline_is_one_that_can_run() -> None:
    (text,) = re.findall(r"```yaml\n(.*?)```", PAGE.read_text(), re.DOTALL)
    pipeline = from_text(text.encode(), name="flaky.yaml")
    assert [stage.id for stage in pipeline.stages] == ["build", "test", "lint", "deploy"]


def test_the_values_are_what_the_chart_takes() -> None:
    (text,) = re.findall(r"<<VALUES\n(.*?)VALUES\n", PAGE.read_text(), re.DOTALL)
    chart = helm_python.Chart.load(ROOT / "charts" / "ottoscaler")
    rendered = chart.render(yaml.safe_load(text), name="ottoscaler", namespace="ottoscaler")
    assert any("name: orchestrator" in each for each in rendered.values())
