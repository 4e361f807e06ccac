"""A backend of another package joins by an entry point, and its mistakes are named."""

import os
from pathlib import Path

from tests.component.adapter.installed import EXAMPLE, ROOT, Spool
from tests.component.adapter.running import ottoscaler

MODULE = EXAMPLE / "ottoscaler_spool.py"


async def test_its_block_is_judged_like_a_built_in_one(
    tmp_path: Path, spool: Spool, environ: dict[str, str]
) -> None:
    path = tmp_path / "config.yaml"
    path.write_text(f"queues:\n  - name: jobs\n    spool: {{directory: {spool.directory}}}\n")
    good = await ottoscaler("config", "check", path, environ=environ)
    assert good.status == 0, good.err
    assert good.out.splitlines()[1].split() == ["jobs", "spool", "5m0s", "all"]
    path.write_text("queues:\n  - name: jobs\n    spool: {directry: /spool}\n")
    bad = await ottoscaler("config", "check", path, environ=environ)
    assert bad.status == 2
    assert (
        f'{path}:3: queues[0].spool.directry: unknown key, did you mean "directory"?' in bad.err.splitlines()
    )


async def test_one_that_cannot_be_loaded_is_named_with_the_reason(tmp_path: Path) -> None:
    info = tmp_path / "broken-1.0.dist-info"
    info.mkdir()
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: broken\nVersion: 1.0\n")
    (info / "entry_points.txt").write_text(
        "[ottoscaler.backends]\nbroken = broken_backend:Backend\nempty = types:SimpleNamespace\n"
    )
    (tmp_path / "broken_backend.py").write_text("raise RuntimeError('out of order')\n")
    path = tmp_path / "config.yaml"
    path.write_text("queues:\n  - {name: one, broken: {}}\n  - {name: two, empty: {}}\n")
    checked = await ottoscaler("config", "check", path, environ={**os.environ, "PYTHONPATH": str(tmp_path)})
    assert checked.status == 2
    broken = "the backend 'broken' of broken_backend:Backend cannot be loaded: RuntimeError: out of order"
    empty = "the backend 'empty' of types:SimpleNamespace lacks block, settings, kind, connection, source"
    assert checked.err.splitlines() == [
        f"{path}:2: queues[0].broken: {broken}",
        f"{path}:3: queues[1].empty: {empty}",
    ]


def test_the_documentation_shows_the_example_as_it_is_and_it_is_short() -> None:
    code = MODULE.read_text()
    assert code in (ROOT / "docs" / "adding-a-backend.md").read_text()
    assert len(code.splitlines()) < 60
