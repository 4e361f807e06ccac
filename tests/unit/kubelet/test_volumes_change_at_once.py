"""A volume's files change all at once, or not at all."""

from pathlib import Path

import pytest

from tests.cluster.kubelet.payload import PayloadFile, read_payload, write_payload


def payload(**files: str) -> dict[str, PayloadFile]:
    return {name: PayloadFile(content.encode(), 0o644) for name, content in files.items()}


def contents(volume: Path) -> dict[str, str]:
    return {entry.name: entry.read_text() for entry in volume.iterdir() if not entry.name.startswith("..")}


def test_files_come_change_and_go(tmp_path: Path) -> None:
    assert write_payload(tmp_path, payload(a="1", b="1"))
    assert contents(tmp_path) == {"a": "1", "b": "1"}
    assert write_payload(tmp_path, payload(b="2", c="2"))
    assert contents(tmp_path) == {"b": "2", "c": "2"}


def test_one_link_holds_the_current_version(tmp_path: Path) -> None:
    write_payload(tmp_path, payload(a="1", b="1"))
    first = (tmp_path / "..data").readlink()
    with (tmp_path / "a").open() as opened:
        write_payload(tmp_path, payload(a="2", b="2"))
        assert opened.read() == "1"
    assert (tmp_path / "..data").readlink() != first
    assert not (tmp_path / first).exists()
    assert (tmp_path / "a").readlink() == Path("..data/a")


def test_the_same_content_leaves_the_version_alone(tmp_path: Path) -> None:
    write_payload(tmp_path, payload(a="1"))
    version = (tmp_path / "..data").readlink()
    assert not write_payload(tmp_path, payload(a="1"))
    assert (tmp_path / "..data").readlink() == version


def test_paths_may_be_deep_and_modes_are_kept(tmp_path: Path) -> None:
    write_payload(tmp_path, {"tls/key": PayloadFile(b"k", 0o400)})
    assert (tmp_path / "tls").readlink() == Path("..data/tls")
    assert read_payload(tmp_path, "tls/key") == b"k"
    assert (tmp_path / "tls/key").stat().st_mode & 0o777 == 0o400


@pytest.mark.parametrize("path", ["none", "tls/none"])
def test_a_file_that_is_not_there_is_none(tmp_path: Path, path: str) -> None:
    write_payload(tmp_path, payload(a="1"))
    assert read_payload(tmp_path, path) is None
