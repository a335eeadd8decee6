# Two images from one file: `--target api` (HTTP, no torch) and `--target worker` (the default, with torch).
# Both run as user 10001 and write only to /data.

FROM docker.io/library/python:3.11-slim-bookworm AS base
ENV PYTHONUNBUFFERED=1 \
    PYTHONDONTWRITEBYTECODE=1 \
    PIP_DISABLE_PIP_VERSION_CHECK=1 \
    PIP_NO_CACHE_DIR=1 \
    PATH=/opt/venv/bin:$PATH

# ---- dependencies: layers that a change of the source leaves alone ---------------------------------------
FROM base AS dependencies-api
RUN python -m venv /opt/venv
WORKDIR /src
COPY constraints.txt ./
RUN pip install -c constraints.txt setuptools wheel Cython
COPY pyproject.toml ./
COPY docker/install_dependencies.py docker/
# With `tracing`: ten megabytes, loaded only where an OTEL_* variable asks for it; an image cannot be added to later.
RUN python docker/install_dependencies.py tracing

FROM dependencies-api AS dependencies-worker
# The tokenizer has no wheel; the compiler stays behind in this stage.
RUN apt-get update -qq \
    && apt-get install -y -qq --no-install-recommends g++ \
    && rm -rf /var/lib/apt/lists/*
# TORCH_INDEX names another index for torch, e.g. the one with CPU builds; empty: the default index.
ARG TORCH_INDEX=""
RUN python docker/install_dependencies.py --torch-index "$TORCH_INDEX" worker

# ---- the project itself ----------------------------------------------------------------------------------
FROM scratch AS source
COPY pyproject.toml setup.py README.md LICENSE ./
COPY app app
COPY cli cli
COPY jobs jobs
COPY model model
COPY telemetry telemetry
COPY training training
COPY workers workers

FROM dependencies-api AS build-api
COPY --from=source / ./
RUN pip install --no-deps --no-build-isolation .

FROM dependencies-worker AS build-worker
COPY --from=source / ./
RUN pip install --no-deps --no-build-isolation .

# ---- images ----------------------------------------------------------------------------------------------
FROM base AS runtime
RUN groupadd --gid 10001 rudolph \
    && useradd --uid 10001 --gid 10001 --no-create-home --home-dir /data --shell /usr/sbin/nologin rudolph \
    && mkdir /data && chown 10001:10001 /data
ENV HOME=/data RUDOLPH_LOG_FORMAT=json
WORKDIR /data
VOLUME /data
COPY docker/healthcheck.py /opt/healthcheck.py
ENTRYPOINT ["rudolph"]

FROM runtime AS api
COPY --from=build-api /opt/venv /opt/venv
USER 10001:10001
EXPOSE 8000
HEALTHCHECK --interval=10s --timeout=3s --start-period=20s --retries=3 \
    CMD ["python", "/opt/healthcheck.py", "http://127.0.0.1:8000/health/live"]
CMD ["serve", "--workers", "0", "--host", "0.0.0.0", "--port", "8000"]

FROM runtime AS worker
COPY --from=build-worker /opt/venv /opt/venv
USER 10001:10001
ENV RUDOLPH_WORKER_METRICS_PORT=9100
EXPOSE 9100
# Answers 503 when the queue has not heard from the worker for a while, or when a step hangs.
HEALTHCHECK --interval=10s --timeout=3s --start-period=180s --retries=3 \
    CMD ["python", "/opt/healthcheck.py", "http://127.0.0.1:9100/health"]
CMD ["worker"]
