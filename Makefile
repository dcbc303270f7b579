# Everything that a checkout needs, from a Python >= 3.11 alone. `make help` lists the targets.

VENV   ?= .venv
PYTEST_ARGS ?=
# twice the cores, since most tests wait for processes
PYTEST_WORKERS ?= $(shell expr 2 \* $$(nproc 2>/dev/null || sysctl -n hw.ncpu 2>/dev/null || echo 1))
BENCH_ARGS ?=
SOAK_ARGS ?=

BIN    := $(VENV)/bin
PYTHON := $(BIN)/python
PIP    := $(PYTHON) -m pip --disable-pip-version-check --require-virtualenv --quiet
# a marker file in the environment tells what was installed, and when
DEMO_READY := $(VENV)/.demo-ready
TEST_READY := $(VENV)/.test-ready
BENCH_READY := $(VENV)/.bench-ready

export PIP_ROOT_USER_ACTION := ignore
MAKEFLAGS += --no-print-directory

.PHONY: help demo test lint format bench soak image image-test lock clean

help:
	@echo "make demo     the whole thing on this machine: simulated stations, a broker, the bridge; Ctrl-C ends it"
	@echo "make test     linters, types and all tests, after installing what they need (Mosquitto too)"
	@echo "              PYTEST_ARGS='-k reload' runs a part of the tests"
	@echo "make lint     linters and types alone"
	@echo "make format   formats the code and sorts its imports"
	@echo "make bench    measures the bridge beside what would be used instead; BENCH_ARGS='--quick' for a first look"
	@echo "make soak     mixes faults at random for 3 minutes and checks the broker; SOAK_ARGS='--minutes 30 --seed 7'"
	@echo "make image    builds the container image with buildah, as root; BASE=... names the image to build on"
	@echo "make image-test builds it and runs it, and the unit under systemd, against a broker and a cloud of this machine"
	@echo "make lock     writes requirements/*.txt from pyproject.toml; UPGRADE=1 takes the newest versions"
	@echo "make clean    removes the environment ($(VENV)) and everything that was generated"

demo: $(DEMO_READY)
	@$(PYTHON) -m evse_mqtt_bridge demo

test: $(TEST_READY)
	@scripts/ensure-mosquitto
	@scripts/ensure-chromium
	@$(MAKE) lint
	@$(PYTHON) -m pytest -n $(PYTEST_WORKERS) --dist load --maxschedchunk 4 $(PYTEST_ARGS)

lint: $(TEST_READY)
	@$(BIN)/ruff check
	@$(BIN)/ruff format --check
	@$(BIN)/mypy
	@$(BIN)/lint-imports --no-logo
	@$(BIN)/codespell

format: $(TEST_READY)
	@$(BIN)/ruff check --select I --fix
	@$(BIN)/ruff format

bench: $(BENCH_READY)
	@scripts/ensure-mosquitto
	@scripts/ensure-nginx
	@$(PYTHON) -m benchmarks $(BENCH_ARGS)

soak: $(BENCH_READY)
	@scripts/ensure-mosquitto
	@$(PYTHON) -m benchmarks.soak $(SOAK_ARGS)

image: $(TEST_READY)
	@PYTHON=$(PYTHON) scripts/image

image-test: $(TEST_READY)
	@scripts/ensure-mosquitto
	@PYTHON=$(PYTHON) scripts/image localhost/evse-mqtt-bridge:test
	@scripts/image-with-systemd localhost/evse-mqtt-bridge:test localhost/evse-mqtt-bridge:systemd
	@IMAGE=localhost/evse-mqtt-bridge:test SYSTEMD_IMAGE=localhost/evse-mqtt-bridge:systemd \
		$(PYTHON) -m pytest tests/packaging/test_image.py tests/packaging/test_unit.py $(PYTEST_ARGS)

lock:
	@scripts/lock $(if $(UPGRADE),--upgrade)

clean:
	rm -rf $(VENV) build dist .mypy_cache .ruff_cache .pytest_cache .hypothesis .import_linter_cache
	find . -name __pycache__ -type d -prune -exec rm -rf {} +

$(PYTHON):
	@python=$$(scripts/find-python) && echo "environment: $(VENV), with $$python" && $$python -m venv --clear $(VENV)

$(DEMO_READY): requirements/demo.txt pyproject.toml | $(PYTHON)
	@echo "installing what the demo needs ..."
	@$(PIP) install --require-hashes -r $<
	@$(PIP) install --no-deps --no-build-isolation --editable .
	@touch $@

$(TEST_READY): requirements/test.txt pyproject.toml | $(PYTHON)
	@echo "installing what the tests need ..."
	@$(PIP) install --require-hashes -r $<
	@$(PIP) install --no-deps --no-build-isolation --editable .
	@touch $@ $(DEMO_READY)

$(BENCH_READY): requirements/bench.txt pyproject.toml | $(PYTHON)
	@echo "installing what the benchmarks need ..."
	@$(PIP) install --require-hashes -r $<
	@$(PIP) install --no-deps --no-build-isolation --editable .
	@touch $@
