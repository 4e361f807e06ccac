"""The page of results: people's words stay, a section between two marks is replaced by whoever measured it."""

import os
import platform
from datetime import UTC, datetime
from pathlib import Path


def write_section(page: Path, name: str, text: str) -> None:
    """Puts `text` between `<!-- name -->` and `<!-- /name -->`, with the date and the machine."""
    begin, end = f"<!-- {name} -->", f"<!-- /{name} -->"
    before, _, rest = page.read_text().partition(begin)
    _, found, after = rest.partition(end)
    if not found:
        raise ValueError(f"{page} has no section {begin} … {end}")
    about = (
        f"{datetime.now(UTC):%Y-%m-%d %H:%M} UTC, Python {platform.python_version()}, {os.cpu_count()} cores,"
        f" load average {os.getloadavg()[2]:.1f} before."
    )
    page.write_text(f"{before}{begin}\n{about}\n\n{text}\n{end}{after}")
