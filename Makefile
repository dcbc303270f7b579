# Development tasks. They require only Python 3.11 or newer; `make help` lists them.

VENV   ?= .venv
PYTEST_ARGS ?=
# three times the number of cores, because most tests wait for processes
PYTEST_WORKERS ?= $(shell expr 3 \* $$(nproc 2>/dev/null || sysctl -n hw.ncpu 2>/dev/null || echo 1))
BENCH_ARGS ?=
SOAK_ARGS ?=

BIN    := $(VENV)/bin
PYTHON := $(BIN)/python
PIP    := $(PYTHON) -m pip --disable-pip-version-check --require-virtualenv --quiet
# marker files in the environment record which dependencies are installed
DEMO_READY := $(VENV)/.demo-ready
TEST_READY := $(VENV)/.test-ready
BENCH_READY := $(VENV)/.bench-ready

export PIP_ROOT_USER_ACTION := ignore
# containers and CI often set it; then each of the processes that the tests start would compile the package again
unexport PYTHONDONTWRITEBYTECODE
MAKEFLAGS += --no-print-directory

.PHONY: help demo test compile lint format bench soak image image-test lock clean

help:
	@echo "make demo     run simulated stations, a broker and the bridge on this machine; stop with Ctrl-C"
	@echo "make test     install the test dependencies, Mosquitto, etcd and Chromium, then run linters, type checks and all tests"
	@echo "              select tests with PYTEST_ARGS='-k reload'"
	@echo "make compile  compile the package and all tests once, so that no process of the tests has to"
	@echo "make lint     run linters and type checks"
	@echo "make format   format the code and sort imports"
	@echo "make bench    compare the bridge with its alternatives; shorter run: BENCH_ARGS='--quick'"
	@echo "              compare with a commit: BENCH_ARGS='guard --against HEAD~5'"
	@echo "make soak     inject random faults for 3 minutes and check the topics; SOAK_ARGS='--minutes 30 --seed 7'"
	@echo "make image    build the container image with buildah, as root; base image: BASE=..."
	@echo "make image-test build the image, then test it and the systemd unit against a local broker and cloud"
	@echo "make lock     update requirements/*.txt from pyproject.toml; newest versions: UPGRADE=1"
	@echo "make clean    remove the environment ($(VENV)) and all generated files"

demo: $(DEMO_READY)
	@$(PYTHON) -m evse_mqtt_bridge demo

test: $(TEST_READY)
	@scripts/ensure-mosquitto
	@scripts/ensure-etcd
	@scripts/ensure-chromium
	@$(MAKE) -j 2 lint compile
	@$(PYTHON) -m pytest -n $(PYTEST_WORKERS) --dist load --maxschedchunk 4 $(PYTEST_ARGS)

# pytest compiles tests in its own way, when it collects them; errors appear again when the tests run
compile: $(TEST_READY)
	@$(PYTHON) -m pytest --collect-only $(PYTEST_ARGS) >/dev/null 2>&1 || true

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
	@scripts/ensure-valgrind
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
	@python=$$(scripts/find-python) && echo "creating the environment $(VENV) with $$python ..." && $$python -m venv --clear $(VENV)

$(DEMO_READY): requirements/demo.txt requirements/image.txt pyproject.toml | $(PYTHON)
	@echo "installing the demo dependencies ..."
	@$(PIP) install --require-hashes -r $<
	@$(PIP) install --require-hashes --only-binary pycurl -r requirements/image.txt 2>/dev/null || echo "pycurl has no wheel for this system: the bridge uses httpx"
	@$(PIP) install --no-deps --no-build-isolation --editable .
	@touch $@

$(TEST_READY): requirements/test.txt pyproject.toml | $(PYTHON)
	@echo "installing the test dependencies ..."
	@$(PIP) install --require-hashes -r $<
	@$(PIP) install --no-deps --no-build-isolation --editable .
	@touch $@ $(DEMO_READY)

$(BENCH_READY): requirements/bench.txt pyproject.toml | $(PYTHON)
	@echo "installing the benchmark dependencies ..."
	@$(PIP) install --require-hashes -r $<
	@$(PIP) install --no-deps --no-build-isolation --editable .
	@touch $@
