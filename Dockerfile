# The bridge and its locked dependencies, without build tools.
#
#   docker build -t evse-mqtt-bridge .
#   docker run --read-only -v ./config.toml:/config/config.toml:ro -v evse-data:/var/lib/evse-mqtt-bridge evse-mqtt-bridge
#
# User 10001 must be able to read the configuration. Append other commands to the image name: `... check --online`.
# BASE can be any image with Python 3.11 or newer and the venv module. To use another package index, pass pip's
# configuration as a secret, which does not become part of the image: --secret id=pip,src=/etc/pip.conf

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
# the history of sessions and energy
RUN install --directory --owner 10001 --group 10001 --mode 0700 /var/lib/evse-mqtt-bridge
VOLUME /var/lib/evse-mqtt-bridge
ENV STATE_DIRECTORY=/var/lib/evse-mqtt-bridge
USER 10001:10001
WORKDIR /config
# status page, metrics and health probes; requires http.host = "0.0.0.0"
EXPOSE 9480
ENTRYPOINT ["evse-mqtt-bridge"]
CMD ["run"]
# queries the bridge, or the broker; images in OCI format have no health check
HEALTHCHECK --interval=30s --timeout=15s --start-period=30s --retries=3 CMD ["evse-mqtt-bridge", "health"]
