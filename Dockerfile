# One image for every process of the Procfile; docker-compose.yml says which.
FROM python:3.11.13-slim-bookworm AS packages
# With the extras `redis` and `tracing`: a setting that needs one is all it takes.
COPY requirements-extras.txt /
RUN python -m venv /opt/holdfast \
    && /opt/holdfast/bin/pip install --no-cache-dir --disable-pip-version-check \
        --require-hashes --no-deps --requirement /requirements-extras.txt

FROM python:3.11.13-slim-bookworm
ENV PATH=/opt/holdfast/bin:$PATH \
    PYTHONDONTWRITEBYTECODE=1 \
    PYTHONUNBUFFERED=1 \
    PORT=8000
RUN useradd --system --uid 10001 --no-create-home --shell /usr/sbin/nologin holdfast \
    # A volume that is mounted here belongs to its user from the start.
    && install --directory --owner=holdfast --mode=0700 /exports
COPY --from=packages /opt/holdfast /opt/holdfast
WORKDIR /app
COPY holdfast.py ./
COPY config config
COPY actors actors
COPY models models
COPY web web
# The dashboard shows them.
COPY docs/runbooks docs/runbooks
# By number: an orchestrator that wants no root can tell.
USER 10001
EXPOSE 8000
# Of the front door; worker and clock have checks of their own in docker-compose.yml.
HEALTHCHECK --interval=10s --timeout=5s --start-period=30s --retries=3 \
    CMD ["python", "-c", "import os, urllib.request as http; http.urlopen(f\"http://127.0.0.1:{os.environ['PORT']}/readyz\", timeout=4)"]
CMD ["python", "-m", "web"]
