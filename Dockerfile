# The worker as a small image: one process, not root, no secrets inside, nothing written to disk.
#
#   docker build --tag supabase-realtime-worker .
#   docker build --tag supabase-realtime-worker:offline --target offline .     with Apertium: translates without any account
#   docker run --env-file .env --read-only supabase-realtime-worker

ARG PYTHON=python:3.11-slim-bookworm

FROM ${PYTHON} AS build
WORKDIR /src
ENV PIP_NO_CACHE_DIR=1 PIP_DISABLE_PIP_VERSION_CHECK=1 PIP_ROOT_USER_ACTION=ignore

# What changes rarely comes first: with the same pins, the layers below are taken from the cache.
COPY scripts/requirements/run.txt scripts/requirements/build.txt requirements/
RUN python -m venv --without-pip /venv \
 && pip --python /venv/bin/python install --require-hashes --requirement requirements/run.txt
RUN pip install --require-hashes --requirement requirements/build.txt

COPY pyproject.toml README.md LICENSE ./
COPY sql sql
COPY worker worker
RUN pip wheel --no-build-isolation --no-deps --wheel-dir dist . \
 && pip --python /venv/bin/python install --no-index --no-deps dist/*.whl

FROM ${PYTHON} AS base
# As process 1, Python would ignore a SIGTERM that comes before the worker listens for it, and would leave behind as zombies
# what the Apertium programs start. tini does neither.
RUN apt-get update \
 && apt-get install --yes --no-install-recommends tini \
 && rm -rf /var/lib/apt/lists/*
ENV PATH=/venv/bin:$PATH PYTHONUNBUFFERED=1 PYTHONDONTWRITEBYTECODE=1
ENTRYPOINT ["tini", "--"]
# Exec form: the worker itself gets SIGTERM, finishes what it can within SHUTDOWN_GRACE_SECONDS, and gives the rest back.
CMD ["worker", "run"]
# Without PORT there is no HTTP side to ask, and a running process is all there is to know.
HEALTHCHECK --interval=30s --timeout=5s --start-period=20s CMD ["python", "-c", "import http.client, os, sys; port = os.environ.get('PORT'); ask = http.client.HTTPConnection('127.0.0.1', int(port or 0), timeout=4); sys.exit(bool(port) and (ask.request('GET', '/health') or ask.getresponse().status) != 200)"]
# docker build --build-arg VERSION=… --build-arg REVISION=$(git rev-parse HEAD)
ARG VERSION=0.1.0
ARG REVISION=unknown
LABEL org.opencontainers.image.title="supabase-realtime-worker" \
      org.opencontainers.image.description="The background worker of a Supabase project" \
      org.opencontainers.image.licenses="MIT" \
      org.opencontainers.image.version="${VERSION}" \
      org.opencontainers.image.revision="${REVISION}"

# Real translations without a network or a key, for the pairs installed here; `apt-cache search apertium-` names more.
FROM base AS offline
RUN apt-get update \
 && apt-get install --yes --no-install-recommends apertium apertium-eng-spa apertium-eng-cat apertium-es-pt \
 && rm -rf /var/lib/apt/lists/*
ENV TRANSLATOR=apertium
COPY --from=build /venv /venv
# A number, so that a platform can tell that it is not root.
USER 10001:10001

# Last, because it is what `docker build` makes without a target.
FROM base AS worker
COPY --from=build /venv /venv
USER 10001:10001
