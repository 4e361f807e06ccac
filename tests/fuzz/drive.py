"""One target under atheris (libFuzzer with Python coverage) until its time is up.

python -m tests.fuzz.drive TARGET [libFuzzer options]
"""

import sys

import atheris


def main() -> None:
    """Never returns: libFuzzer ends the process."""
    name = sys.argv.pop(1)
    with atheris.instrument_imports(include=["ottoscaler.apiservice"]):
        from tests.fuzz.targets import TARGETS
    atheris.Setup(sys.argv, TARGETS[name])
    atheris.Fuzz()


if __name__ == "__main__":
    main()
