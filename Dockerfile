# One image for every role; `docker compose` picks the role by its command.
FROM python:3.11.14-slim-bookworm AS build
RUN apt-get update \
 && apt-get install --yes --no-install-recommends build-essential \
 && rm -rf /var/lib/apt/lists/*
# AVX2 and FMA instead of whatever the building machine has, so that the image runs elsewhere.
ENV CMAKE_ARGS="-DGGML_NATIVE=OFF"
WORKDIR /source
COPY requirements.lock .
RUN pip wheel --no-cache-dir --require-hashes --wheel-dir /wheels -r requirements.lock
COPY pyproject.toml README.md LICENSE ./
COPY schemas schemas
COPY mesh mesh
COPY workers workers
COPY gateway gateway
COPY cli cli
RUN pip wheel --no-cache-dir --no-deps --wheel-dir /wheels .

FROM python:3.11.14-slim-bookworm
RUN apt-get update \
 && apt-get install --yes --no-install-recommends libgomp1 \
 && rm -rf /var/lib/apt/lists/* \
 && useradd --uid 10001 --user-group --no-create-home --home-dir /state mesh \
 && install --directory --owner=mesh --group=mesh --mode=0700 /state /state/creds
# The wheels include those for development; only what the package itself asks for is installed.
RUN --mount=type=bind,from=build,source=/wheels,target=/wheels \
    pip install --no-cache-dir --no-index --find-links=/wheels inference-mesh
COPY --chmod=0444 models/spark/spark.gguf /models/spark.gguf
ENV MESH_STATE=/state PYTHONUNBUFFERED=1
USER 10001:10001
WORKDIR /state
EXPOSE 8080 4222
STOPSIGNAL SIGTERM
HEALTHCHECK --interval=10s --timeout=3s --start-period=60s --retries=3 \
    CMD ["python", "-c", "import urllib.request as u; u.urlopen('http://127.0.0.1:8080/healthz', timeout=2)"]
ENTRYPOINT ["mesh"]
CMD ["up", "--http=0.0.0.0:8080", "--no-open", "--nats-listen=0.0.0.0:4222", "--model=/models/spark.gguf"]
