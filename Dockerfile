# Builds two images: `--target api` (HTTP, no torch) and `--target worker` (the default, with torch).
# Both run as user 10001 and write only to /data.

FROM docker.io/library/python:3.11-slim-bookworm AS base
ENV PYTHONUNBUFFERED=1 \
    PYTHONDONTWRITEBYTECODE=1 \
    PIP_DISABLE_PIP_VERSION_CHECK=1 \
    PIP_NO_CACHE_DIR=1 \
    PATH=/opt/venv/bin:$PATH

# ---- dependencies: a change of the source does not rebuild these layers ----------------------------------
FROM base AS dependencies-api
RUN python -m venv /opt/venv
WORKDIR /src
COPY requirements requirements
RUN pip install --require-hashes -r requirements/build.txt
# With `tracing` and `mcp`, because an extra cannot be added to a finished image. They are loaded only if an OTEL_*
# variable or RUDOLPH_MCP is set.
RUN pip install --require-hashes -r requirements/api.txt

FROM dependencies-api AS dependencies-worker
# The tokenizer has no wheel and is compiled here, so that the final image needs no C++ compiler.
RUN apt-get update -qq \
    && apt-get install -y -qq --no-install-recommends g++ \
    && rm -rf /var/lib/apt/lists/*
RUN pip install --require-hashes --no-build-isolation -r requirements/worker.txt
# TORCH_INDEX: package index for torch, for example one with CPU builds. Its files have other hashes, so only the
# version is checked. Empty: the default index, with hashes.
ARG TORCH_INDEX=""
COPY constraints.txt ./
RUN if [ -z "$TORCH_INDEX" ]; then pip install --require-hashes -r requirements/torch.txt; else \
        pip install -c constraints.txt --no-deps --index-url "$TORCH_INDEX" torch \
        && pip install -c constraints.txt torch; fi

# ---- the project itself ----------------------------------------------------------------------------------
FROM scratch AS source
COPY pyproject.toml setup.py README.md LICENSE ./
COPY app app
COPY cli cli
COPY images images
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

FROM runtime AS runtime-worker
# Triton compiles a small C module at the first launch of a kernel: it needs gcc, the C headers and Python.h.
RUN apt-get update -qq \
    && apt-get install -y -qq --no-install-recommends gcc libc6-dev \
    && rm -rf /var/lib/apt/lists/*

FROM runtime-worker AS worker
COPY --from=build-worker /opt/venv /opt/venv
USER 10001:10001
# All addresses of the container: Prometheus and the probes of an orchestrator come from other ones.
ENV RUDOLPH_WORKER_METRICS_PORT=9100 RUDOLPH_WORKER_METRICS_HOST=0.0.0.0
EXPOSE 9100
# Answers 503 while a step hangs, and while the worker cannot take jobs. Docker reports this, and restarts nothing.
HEALTHCHECK --interval=10s --timeout=3s --start-period=180s --retries=3 \
    CMD ["python", "/opt/healthcheck.py", "http://127.0.0.1:9100/health/ready"]
CMD ["worker"]
