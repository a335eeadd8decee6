# Builds two images: `--target api` (HTTP, no torch) and `--target worker` (the default, with torch).
# Both run as user 10001. The API writes no files, the worker compiled kernels to /data.
#
# Layers of the worker from below: Python and gcc, torch, the other packages, the project. A change of the project pushes
# the last one only, a few MB; a new version of another package leaves torch where it is. Each stage of packages installs
# into /image, so that it can be copied over the layers below.
# The stages of the API are first, because older versions of podman build all stages above the target.

# `make pin-images` adds the digest: docs/security.md.
ARG PYTHON_IMAGE=docker.io/library/python:3.11-slim-bookworm

FROM ${PYTHON_IMAGE} AS base
ENV PYTHONUNBUFFERED=1 \
    PYTHONDONTWRITEBYTECODE=1 \
    PATH=/opt/venv/bin:$PATH
# Without pip. The stages below use that of the base image: `pip --python /opt/venv`.
RUN python -m venv --without-pip /opt/venv

# ---- for both images ------------------------------------------------------------------------------------
FROM base AS builder
ENV PIP_DISABLE_PIP_VERSION_CHECK=1 \
    PIP_NO_CACHE_DIR=1 \
    PIP_ROOT_USER_ACTION=ignore
WORKDIR /src
COPY requirements/build.txt requirements/
RUN pip install --require-hashes -r requirements/build.txt

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

FROM base AS runtime
# Nothing is installed or built in a running container.
RUN pip uninstall --yes --quiet --root-user-action ignore pip setuptools wheel \
    && groupadd --gid 10001 rudolph \
    && useradd --uid 10001 --gid 10001 --no-create-home --home-dir /data --shell /usr/sbin/nologin rudolph \
    && mkdir /data && chown 10001:10001 /data
ENV HOME=/data RUDOLPH_LOG_FORMAT=json
WORKDIR /data
COPY docker/healthcheck.py docker/entry.sh /opt/
ENTRYPOINT ["rudolph"]

# ---- the API --------------------------------------------------------------------------------------------
FROM builder AS dependencies-api
COPY requirements/api.txt requirements/
# With `tracing` and `mcp`, because an extra cannot be added to a finished image. They are loaded only if an OTEL_*
# variable or RUDOLPH_MCP is set.
RUN pip --python /opt/venv install --root /image --require-hashes --only-binary :all: -r requirements/api.txt

FROM builder AS build-api
COPY --from=source / ./
RUN pip wheel --no-deps --no-build-isolation --wheel-dir /wheels . \
    && pip --python /opt/venv install --root /image --no-deps --no-index /wheels/*.whl

FROM runtime AS api
COPY --from=dependencies-api /image /
COPY --from=build-api /image /
USER 10001:10001
EXPOSE 8000
HEALTHCHECK --interval=10s --timeout=3s --start-period=20s --retries=3 \
    CMD ["python", "/opt/healthcheck.py", "http://127.0.0.1:8000/health/live"]
CMD ["serve", "--workers", "0", "--host", "0.0.0.0", "--port", "8000"]
# Labels are last, because a new value rebuilds what follows it. VERSION is the one of pyproject.toml.
ARG PYTHON_IMAGE
ARG VERSION=0.2.0
ARG REVISION=unknown
ARG SOURCE=""
LABEL org.opencontainers.image.title="rudolph-api" \
      org.opencontainers.image.description="HTTP API of the inference server for RuDOLPH" \
      org.opencontainers.image.version="$VERSION" \
      org.opencontainers.image.revision="$REVISION" \
      org.opencontainers.image.source="$SOURCE" \
      org.opencontainers.image.licenses="Apache-2.0" \
      org.opencontainers.image.base.name="$PYTHON_IMAGE"

# ---- the worker -----------------------------------------------------------------------------------------
FROM runtime AS runtime-worker
# Triton compiles a small C module at the first launch of a kernel: it needs gcc, the C headers and Python.h.
RUN apt-get update -qq \
    && apt-get install -y -qq --no-install-recommends gcc libc6-dev \
    && rm -rf /var/lib/apt/lists/*

FROM builder AS compiler
RUN apt-get update -qq \
    && apt-get install -y -qq --no-install-recommends g++ \
    && rm -rf /var/lib/apt/lists/*

FROM builder AS torch
COPY requirements/torch.txt requirements/
# TORCH_INDEX: package index for torch, for example one with CPU builds. Its files have other hashes, so only the
# version is checked. Empty: the default index, with hashes.
ARG TORCH_INDEX=""
RUN if [ -z "$TORCH_INDEX" ]; then \
        pip --python /opt/venv install --root /image --no-deps --require-hashes -r requirements/torch.txt; \
    else \
        pip --python /opt/venv install --root /image --no-deps --index-url "$TORCH_INDEX" \
            "$(grep -o '^torch==[^ ]*' requirements/torch.txt)"; \
    fi

FROM compiler AS dependencies-worker
COPY requirements/worker.txt requirements/
# The tokenizer has no wheel and is compiled here, so that the final image needs no C++ compiler.
RUN pip wheel --require-hashes --no-build-isolation --no-deps --wheel-dir /wheels -r requirements/worker.txt \
    && pip --python /opt/venv install --root /image --no-deps --no-index /wheels/*.whl \
    && rm -r /wheels
# Another build of torch needs other packages, which no list has. They come from the default index.
ARG TORCH_INDEX=""
RUN --mount=type=bind,from=torch,source=/image,target=/torch \
    if [ -n "$TORCH_INDEX" ]; then \
        PYTHONPATH=$(echo /torch/opt/venv/lib/*/site-packages):$(echo /image/opt/venv/lib/*/site-packages) \
            pip --python /opt/venv install --root /image torch; \
    fi

# With the kernels in C.
FROM compiler AS build-worker
COPY --from=source / ./
RUN pip wheel --no-deps --no-build-isolation --wheel-dir /wheels . \
    && pip --python /opt/venv install --root /image --no-deps --no-index /wheels/*.whl

FROM runtime-worker AS worker
COPY --from=torch /image /
COPY --from=dependencies-worker /image /
COPY --from=build-worker /image /
USER 10001:10001
# All addresses of the container: Prometheus and the probes of an orchestrator come from other ones.
ENV RUDOLPH_WORKER_METRICS_PORT=9100 RUDOLPH_WORKER_METRICS_HOST=0.0.0.0
EXPOSE 9100
# Answers 503 while a step hangs, and while the worker cannot take jobs. Docker reports this, and restarts nothing.
HEALTHCHECK --interval=10s --timeout=3s --start-period=180s --retries=3 \
    CMD ["python", "/opt/healthcheck.py", "http://127.0.0.1:9100/health/ready"]
CMD ["worker"]
ARG PYTHON_IMAGE
ARG VERSION=0.2.0
ARG REVISION=unknown
ARG SOURCE=""
LABEL org.opencontainers.image.title="rudolph-worker" \
      org.opencontainers.image.description="GPU and CPU worker of the inference server for RuDOLPH" \
      org.opencontainers.image.version="$VERSION" \
      org.opencontainers.image.revision="$REVISION" \
      org.opencontainers.image.source="$SOURCE" \
      org.opencontainers.image.licenses="Apache-2.0" \
      org.opencontainers.image.base.name="$PYTHON_IMAGE"
