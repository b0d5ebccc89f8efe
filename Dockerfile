# The worker as a small image: one process, no shell needed, no secrets inside, nothing written to disk.
#
#   docker build --tag supabase-realtime-worker .
#   docker run --env-file .env --read-only supabase-realtime-worker

FROM python:3.11-slim AS build
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

FROM python:3.11-slim
COPY --from=build /venv /venv
ENV PATH=/venv/bin:$PATH PYTHONUNBUFFERED=1 PYTHONDONTWRITEBYTECODE=1

# A number, so that a platform can tell that it is not root.
USER 10001:10001

# Without PORT there is no HTTP side to ask, and a running process is all there is to know.
HEALTHCHECK --interval=30s --timeout=5s --start-period=20s CMD ["python", "-c", "import http.client, os, sys; port = os.environ.get('PORT'); ask = http.client.HTTPConnection('127.0.0.1', int(port or 0), timeout=4); sys.exit(bool(port) and (ask.request('GET', '/health') or ask.getresponse().status) != 200)"]

# Exec form: the worker itself gets SIGTERM, finishes what it can within SHUTDOWN_GRACE_SECONDS, and gives the rest back.
CMD ["worker", "run"]
