"""The cluster tests of the orchestrator in full: `make proof-orchestrator`.

    python -m tests.cluster.orchestrator.proof [--report FILE] [--seed N]

Runs the very tests that `make test` runs, with 20 kills, 200 events and a burst of 500 workers, and writes
what they recorded into the page of results. The seed of a run that failed is printed; give it again.
"""

import argparse
import os
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

import msgspec

from tests.cluster.orchestrator.report import write_section

ROOT = Path(__file__).parents[3]
TESTS = tuple(
    f"tests/cluster/test_orchestrator_{name}.py"
    for name in ("events", "burst", "killed", "replicas", "calls")
)


def main() -> int:
    """The exit status of the tests."""
    parser = argparse.ArgumentParser(description="The orchestrator's proof, in full.")
    parser.add_argument("--report", type=Path, help="a Markdown file whose section `proof` is replaced")
    parser.add_argument("--seed", type=int, default=0, help="of the random moments; chosen when left out")
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as scratch:
        figures = Path(scratch) / "figures"
        command = (sys.executable, "-m", "tests.cluster", "pytest", "-v", "--color=no", *TESTS)
        environ = {
            "OTTOSCALER_SIZES": "full",
            "OTTOSCALER_FIGURES": str(figures),
            "OTTOSCALER_SEED": str(arguments.seed),
        }
        status = subprocess.run(command, cwd=ROOT, env=os.environ | environ, check=False).returncode
        recorded: list[dict[str, Any]] = [
            msgspec.json.decode(line)
            for line in (figures.read_bytes().splitlines() if figures.exists() else ())
        ]
    text = "\n".join(table(recorded))
    print(text)
    if status == 0 and arguments.report is not None:
        write_section(arguments.report, "proof", text)
    return status


def table(recorded: list[dict[str, Any]]) -> list[str]:
    """One row for each scenario."""
    rows = ["| scenario | figures |", "|---|---|"]
    for each in recorded:
        figures = ", ".join(f"{name} {_shown(value)}" for name, value in each.items() if name != "what")
        rows.append(f"| {each['what']} | {figures} |")
    return rows


def _shown(value: Any) -> str:
    return f"{value:.2f}" if isinstance(value, float) else str(value)


if __name__ == "__main__":
    sys.exit(main())
