# syntax=docker/dockerfile:1
# multiscale-bot as an image, for a CPU or for an NVIDIA GPU:
#   docker build --target cpu  --tag multiscale-bot:cpu --build-arg TORCH_INDEX=ADDRESS .
#   docker build --target cuda --tag multiscale-bot:cuda .
# TORCH_INDEX is where PyTorch's own CPU wheels are (pytorch.org names it); without it pip takes the wheels that carry
# CUDA along, some gigabytes more. deploy/docker/compose.yaml runs the image beside Postgres, Prometheus and Grafana.

ARG PYTHON_VERSION=3.11

# --- what runs is put together here, with tools that the image itself does not have -----------------------------------
FROM python:${PYTHON_VERSION}-slim-bookworm AS build-common
ENV PIP_DISABLE_PIP_VERSION_CHECK=1 PIP_NO_CACHE_DIR=1 PYTHONDONTWRITEBYTECODE=1
WORKDIR /opt/multiscale-bot
RUN python -m venv .venv
# Versions are those of the lock; what is only for development stays out.
COPY requirements.lock pyproject.toml README.md LICENSE ./
COPY deploy/docker/runtime_lock.py deploy/docker/
RUN .venv/bin/python deploy/docker/runtime_lock.py decompositions export models > runtime.lock

FROM build-common AS build-cpu
ARG TORCH_INDEX=""
RUN .venv/bin/pip install --only-binary :all: ${TORCH_INDEX:+--extra-index-url "${TORCH_INDEX}"} \
        --constraint requirements.lock torch \
    && .venv/bin/pip install --constraint requirements.lock --requirement runtime.lock
COPY . .
RUN .venv/bin/pip install --no-deps --no-build-isolation --editable . \
    && .venv/bin/python -m compileall -q bot strategies models migrations

FROM build-common AS build-cuda
RUN .venv/bin/pip install --constraint requirements.lock --requirement runtime.lock
COPY . .
RUN .venv/bin/pip install --no-deps --no-build-isolation --editable . \
    && .venv/bin/python -m compileall -q bot strategies models migrations

# --- the image --------------------------------------------------------------------------------------------------------
FROM python:${PYTHON_VERSION}-slim-bookworm AS common
# A number, not only a name: files of the host are shared with it, and secrets must be its own.
RUN groupadd --gid 10001 bot && useradd --uid 10001 --gid 10001 --no-create-home --home-dir /var/lib/multiscale-bot bot \
    && install -d -o bot -g bot -m 0700 /var/lib/multiscale-bot /var/cache/multiscale-bot
ENV PATH=/opt/multiscale-bot/.venv/bin:$PATH \
    PYTHONUNBUFFERED=1 PYTHONDONTWRITEBYTECODE=1 \
    NUMBA_CACHE_DIR=/var/cache/multiscale-bot/numba OMP_NUM_THREADS=1 \
    CREDENTIALS_DIRECTORY=/run/secrets
USER 10001:10001
# Settings, runs and the ledger's home: paths in settings files are relative to it. Everything else may be read-only.
WORKDIR /var/lib/multiscale-bot
VOLUME ["/var/lib/multiscale-bot", "/var/cache/multiscale-bot"]
STOPSIGNAL SIGTERM
# Healthy is who has left a sign of life within the last half minute (bot/runtime/heartbeat.py), or is still starting.
HEALTHCHECK --interval=15s --timeout=5s --start-period=10m --retries=3 \
    CMD ["sh", "-c", "test -n \"$(find /var/lib/multiscale-bot -maxdepth 5 -name heartbeat -newermt '-30 seconds' -print -quit)\""]
ENTRYPOINT ["bot"]
CMD ["--help"]

FROM common AS cuda
COPY --from=build-cuda --chown=root:root /opt/multiscale-bot /opt/multiscale-bot
# The driver comes from the host, through NVIDIA's container runtime; CUDA itself is in torch's wheels.
ENV NVIDIA_VISIBLE_DEVICES=all NVIDIA_DRIVER_CAPABILITIES=compute,utility

# The last stage is what a build without --target makes.
FROM common AS cpu
COPY --from=build-cpu --chown=root:root /opt/multiscale-bot /opt/multiscale-bot
