# The bridge and its locked dependencies, without what they are built with.
#
#   docker build -t evse-mqtt-bridge .
#   docker run --read-only -v ./config.toml:/config/config.toml:ro evse-mqtt-bridge
#
# The configuration must be readable by user 10001; other commands go behind the image's name: `... check --online`.
# BASE may be any image with Python 3.11 or newer and its venv module. Where packages come from another index than
# pip's own, its configuration is passed as a secret, of which nothing stays: --secret id=pip,src=/etc/pip.conf

ARG BASE=docker.io/library/python:3.14-slim

FROM ${BASE} AS build
ENV PIP_DISABLE_PIP_VERSION_CHECK=1 PIP_NO_CACHE_DIR=1 PIP_ROOT_USER_ACTION=ignore
WORKDIR /src
COPY requirements/image.txt requirements/build.txt requirements/
RUN --mount=type=secret,id=pip,target=/etc/pip.conf \
    python3 -m venv /opt/build \
 && /opt/build/bin/pip install --require-hashes -r requirements/build.txt \
 && python3 -m venv --without-pip /opt/bridge \
 && /opt/build/bin/pip --python /opt/bridge/bin/python install --require-hashes -r requirements/image.txt
COPY pyproject.toml README.md LICENSE ./
COPY evse_mqtt_bridge evse_mqtt_bridge
RUN /opt/build/bin/pip wheel --no-deps --no-build-isolation --no-index --wheel-dir /tmp/wheel . \
 && /opt/build/bin/pip --python /opt/bridge/bin/python install --no-deps --no-index /tmp/wheel/*.whl

FROM ${BASE}
LABEL org.opencontainers.image.title="evse-mqtt-bridge" \
      org.opencontainers.image.description="EV charging stations of the CLEMAP cloud as retained MQTT topics" \
      org.opencontainers.image.licenses="Apache-2.0"
RUN useradd --uid 10001 --user-group --no-create-home --home-dir /nonexistent --shell /usr/sbin/nologin bridge
COPY --from=build /opt/bridge /opt/bridge
ENV PATH=/opt/bridge/bin:$PATH PYTHONDONTWRITEBYTECODE=1 PYTHONUNBUFFERED=1
USER 10001:10001
WORKDIR /config
# the status page, metrics and probes, where http.host is set to 0.0.0.0
EXPOSE 9480
ENTRYPOINT ["evse-mqtt-bridge"]
CMD ["run"]
# asks the bridge itself, or the broker (part of the image with the docker format alone, not with OCI's)
HEALTHCHECK --interval=30s --timeout=15s --start-period=30s --retries=3 CMD ["evse-mqtt-bridge", "health"]
