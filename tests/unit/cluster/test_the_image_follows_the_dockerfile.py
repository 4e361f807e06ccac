"""What the test cluster runs as the project's image is what the Dockerfile says."""

import pytest

from tests.cluster.images import ROOT, ImageError, Stage, last_stage


def test_the_last_stage_counts_and_what_it_sets_last() -> None:
    text = """
FROM a AS build
ENV LOST=1
USER 1
FROM b
# a remark
COPY --from=build /opt/x /opt/y
ENV ONE=1 \\
    TWO="two words"
ENV ONE=uno
USER 65532
WORKDIR /srv
ENTRYPOINT ["run"]
CMD ["--help"]
"""
    assert last_stage(text) == Stage(
        copies=[("/opt/x", "/opt/y")],
        env={"ONE": "uno", "TWO": "two words"},
        user=65532,
        group=65532,
        workdir="/srv",
        entrypoint=["run"],
        cmd=["--help"],
    )


def test_a_new_entry_point_forgets_the_command_as_docker_does() -> None:
    assert last_stage('FROM a\nCMD ["x"]\nENTRYPOINT ["y"]').cmd == []


@pytest.mark.parametrize(
    "line",
    [
        "HEALTHCHECK CMD true",
        "VOLUME /data",
        "ENTRYPOINT ottoscaler",
        "USER nobody",
        "ENV NAME value",
        "COPY --from=build --chown=1 /a /b",
        "COPY --from=build /a /b /c",
        "COPY a b",
        "RUN apt-get update",
    ],
)
def test_what_cannot_be_imitated_is_an_error_and_no_drift(line: str) -> None:
    with pytest.raises(ImageError, match=line.split()[0]):
        last_stage(f"FROM a\n{line}")


def test_our_image_has_no_root() -> None:
    stage = last_stage((ROOT / "Dockerfile").read_text())
    assert stage.user == stage.group == 65532
    assert stage.entrypoint == ["ottoscaler"]
