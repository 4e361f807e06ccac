# One image for both processes: `ottoscaler adapter` and `ottoscaler orchestrator`.
# tests/cluster/images.py reads the last stage, so that the tests run what this file says.

FROM python:3.11-slim-bookworm AS build
ENV PIP_NO_CACHE_DIR=1 PIP_DISABLE_PIP_VERSION_CHECK=1
WORKDIR /src
COPY requirements/runtime.lock requirements/build.lock requirements/
RUN python -m venv /opt/ottoscaler \
 && /opt/ottoscaler/bin/pip install --require-hashes --requirement requirements/runtime.lock \
 && python -m venv /opt/build \
 && /opt/build/bin/pip install --require-hashes --requirement requirements/build.lock
COPY pyproject.toml README.md LICENSE ./
COPY ottoscaler ottoscaler
RUN /opt/build/bin/hatchling build --target wheel \
 && /opt/ottoscaler/bin/pip install --no-deps --no-index dist/*.whl \
 && /opt/ottoscaler/bin/python -m compileall -q /opt/ottoscaler \
 && /opt/ottoscaler/bin/pip uninstall --yes --quiet pip setuptools

FROM python:3.11-slim-bookworm
COPY --from=build /opt/ottoscaler /opt/ottoscaler
ENV PATH=/opt/ottoscaler/bin:/usr/local/bin:/usr/bin:/bin \
    PYTHONUNBUFFERED=1 \
    PYTHONDONTWRITEBYTECODE=1
USER 65532:65532
WORKDIR /
ENTRYPOINT ["ottoscaler"]
CMD ["--help"]
