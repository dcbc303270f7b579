# The bridge and its locked dependencies, without what they are built with.
#
#   docker build -t evse-mqtt-bridge .
#   docker run --read-only -v ./config.toml:/config/config.toml:ro evse-mqtt-bridge
#
# The configuration must be readable by user 10001; other commands go behind the image's name: `... check --online`.

ARG PYTHON=3.14

FROM python:${PYTHON}-slim AS build
ENV PIP_DISABLE_PIP_VERSION_CHECK=1 PIP_NO_CACHE_DIR=1 PIP_ROOT_USER_ACTION=ignore
WORKDIR /src
COPY requirements/run.txt requirements/build.txt requirements/
RUN python -m venv /opt/build \
 && /opt/build/bin/pip install --require-hashes -r requirements/build.txt \
 && python -m venv --without-pip /opt/bridge \
 && /opt/build/bin/pip --python /opt/bridge/bin/python install --require-hashes -r requirements/run.txt
COPY pyproject.toml README.md LICENSE ./
COPY evse_mqtt_bridge evse_mqtt_bridge
RUN /opt/build/bin/pip wheel --no-deps --no-build-isolation --no-index --wheel-dir /tmp/wheel . \
 && /opt/build/bin/pip --python /opt/bridge/bin/python install --no-deps --no-index /tmp/wheel/*.whl

FROM python:${PYTHON}-slim
RUN useradd --uid 10001 --user-group --no-create-home --home-dir /nonexistent bridge
COPY --from=build /opt/bridge /opt/bridge
ENV PATH=/opt/bridge/bin:$PATH PYTHONDONTWRITEBYTECODE=1 PYTHONUNBUFFERED=1
USER 10001:10001
WORKDIR /config
ENTRYPOINT ["evse-mqtt-bridge"]
CMD ["run"]
# asks the broker whether this bridge is online (part of the image with the docker format alone, not with OCI's)
HEALTHCHECK --interval=30s --timeout=10s --start-period=30s --retries=3 CMD ["evse-mqtt-bridge", "health"]
