# The commands of the project; `make` alone lists them.
SHELL := /bin/bash
BATCH ?= demo-1
PRESET ?= demo
KEEP ?= 1
SERVICE ?=
DOCKER ?= docker
STAGES := .venvs/stages/bin
AIRFLOW := .venvs/airflow/bin
# Where pytest notes what failed.
CACHE ?= .pytest_cache
PYTEST := python -m pytest -o cache_dir=$(CACHE)
AIRFLOW_PYTEST := $(AIRFLOW)/$(PYTEST)/airflow
JOBS ?= 2
# Python keeps what it compiled: without, each of the many processes compiles all that it imports, anew.
unexport PYTHONDONTWRITEBYTECODE
# Minutes for each half of `make test`.
LIMIT ?= 25
# A file stays on one worker, which makes its fixtures once; in the order of folders, for the long files come early.
FAST := -m "not slow and not engine" --numprocesses $(JOBS) --dist loadfile --no-loadscope-reorder -o tmp_path_retention_policy=failed
STAGES_TESTS := --ignore=tests/dags --ignore=tests/plugins --ignore=tests/browser

.PHONY: help install demo up down status test test-stages test-airflow test-e2e test-e2e-stages test-e2e-airflow coverage test-docker drill test-celery images test-images sbom audit bench lint format lock clean

help:  ## list the commands
	@sed -n 's/^\([a-z0-9-]*\):.*##/\1\t/p' $(MAKEFILE_LIST) | expand -t 16

.PHONY: needs
needs: SHELL := /bin/sh
needs:
	@scripts/needs.sh

install: needs  ## create the two environments from their locks (nothing happens when they are up to date)
	@scripts/install.sh stages
	@scripts/install.sh airflow

demo: install  ## the whole loop, for one batch: BATCH=demo-2, PRESET=default, KEEP=0 stops everything at the end
	@$(STAGES)/sim2edge demo --batch $(BATCH) --preset $(PRESET) $(if $(filter 0,$(KEEP)),--stop,)

.PHONY: test-all
test-all: install  ## every suite of ci/suites.toml, whatever changed (docs/testing.md)
	@$(STAGES)/python ci/suites.py run --all

.PHONY: secrets ps logs batch test-compose
secrets: install  ## make the secrets of the system in containers, and .env; what is there stays
	@$(STAGES)/sim2edge compose init
up: secrets  ## start the whole system in containers (`make images` first)
	@$(STAGES)/sim2edge compose check
	@$(DOCKER) compose up --detach --wait --quiet-pull
	@echo 'addresses and logins: $(STAGES)/sim2edge compose logins    one batch: make batch    stop: make down'
down:  ## stop it; data stay
	@$(STAGES)/sim2edge compose down
ps:  ## say what runs in containers
	@$(DOCKER) compose ps --all
logs:  ## follow the logs: SERVICE=airflow-scheduler
	@$(DOCKER) compose logs --follow --tail 100 $(SERVICE)
batch: install  ## one batch through the system in containers: BATCH=demo-2, PRESET=default
	@$(STAGES)/sim2edge compose batch --batch $(BATCH) --preset $(PRESET)
test-compose: install  ## the tests of the system in containers, and of the engine's proxy (`make images` first); WHOLE=1: a real batch
	@WHOLE=$(WHOLE) $(STAGES)/$(PYTEST) -m engine tests/compose tests/engine_proxy --durations=8

status:  ## say what runs of the stack without containers (sim2edge up)
	@$(STAGES)/sim2edge status

test: install  ## every test but the slow ones; both halves at once, JOBS=2 each, for at most LIMIT=25 minutes
	@echo "two halves at once: each speaks when it has ended"
	@$(MAKE) --no-print-directory --jobs=2 --output-sync=target test-stages test-airflow

test-stages: install
	@scripts/in_memory.sh scripts/limit.sh $(LIMIT) $(STAGES)/$(PYTEST) $(FAST) $(STAGES_TESTS) --durations=8

test-airflow: install
	@scripts/in_memory.sh scripts/limit.sh $(LIMIT) $(AIRFLOW_PYTEST) $(FAST) tests/dags tests/plugins --durations=5

coverage: install  ## what of src/ the tests of the stages and the core reach (slower: one at a time, counted)
	@rm -f .coverage .coverage.*
	@$(STAGES)/python -m coverage run -m pytest -m "not slow and not engine" $(STAGES_TESTS)
	@$(STAGES)/python -m coverage combine --quiet && $(STAGES)/python -m coverage report

test-e2e: test-e2e-stages test-e2e-airflow  ## the slow tests: the whole stack, kills, bad inputs through Airflow; one of the two with TESTS=tests/dags/test_backfills.py

test-e2e-stages: TESTS ?= $(STAGES_TESTS) --ignore=tests/celery
test-e2e-stages: install
	@$(STAGES)/$(PYTEST) -m "slow and not engine" $(TESTS) --durations=8

test-e2e-airflow: TESTS ?= tests/dags
test-e2e-airflow: install
	@$(AIRFLOW_PYTEST) -m "slow and not engine" $(TESTS) --durations=8

test-docker: install  ## the tests that need a Docker engine and the images (`make images`)
	@$(AIRFLOW_PYTEST) -m "engine and not slow" tests/docker --durations=8

drill: install  ## twenty kills at random moments of what runs a pipeline in containers: SEED=1, DRILL_ENGINE=1 the engine too
	@$(AIRFLOW_PYTEST) -m "engine and slow" tests/docker --capture=no

test-celery: install  ## two Celery workers on hosts of their own; as root, with Redis and PostgreSQL: docs/celery.md
	@$(STAGES)/$(PYTEST) -m slow tests/celery --durations=5

.PHONY: test-pi
test-pi: install  ## a virtual Raspberry Pi (ci/pi.sh): power cuts in an update, watchdog; as root; CUTS=20 BOOTS=1 SEED=7
	@CUTS=$(or $(CUTS),20) BOOTS=$(or $(BOOTS),1) SEED=$(SEED) $(STAGES)/$(PYTEST) tests/pi --durations=5

.PHONY: test-faults
test-faults: install  ## the device with failing system calls (ci/servers.sh): some, or SIM2EDGE_FAULTS=all
	@$(STAGES)/$(PYTEST) -m slow tests/faults --durations=3

.PHONY: test-browser
test-browser: install  ## Chromium against a running stack (ci/browser.sh installs it); SIM2EDGE_PICTURES=docs keeps the pictures
	@$(AIRFLOW_PYTEST) tests/browser --ignore=tests/browser/test_tasks.py --durations=5

.PHONY: test-tasks
test-tasks: install  ## the tasks of a day (docs/tasks.md) in Chromium, with their clicks; SIM2EDGE_PICTURES=docs keeps the pictures
	@$(AIRFLOW_PYTEST) tests/browser/test_tasks.py --durations=5

.PHONY: image-list
image-list: install  ## write containers/images.json, the list of the stages' images, from their declarations
	@mkdir -p build && $(STAGES)/sim2edge stages --json >build/images.json && mv build/images.json containers/images.json

images:  ## build the images, all or IMAGES="train device"; PLATFORM=linux/arm64 for a Raspberry Pi
	@scripts/images.sh $(IMAGES)

test-images:  ## the tests of each part inside its image: IMAGES=train
	@scripts/test_images.sh $(IMAGES)

sbom: install  ## bills of materials of the images, into build/sbom
	@$(STAGES)/python scripts/sbom.py $(IMAGES)

audit: install  ## pins that OSV records on disk call vulnerable: SIM2EDGE_OSV=all.zip
	@$(STAGES)/python scripts/audit.py

.PHONY: test-arm64
test-arm64: install  ## the device's image on arm64, under emulation, against amd64 (both images first: docs/images.md)
	@$(STAGES)/$(PYTEST) -m engine tests/arm64 --durations=5

bench: install  ## speed and memory as ratios, measured now; all or NAMES="train ota"
	@$(STAGES)/python -m benchmarks $(NAMES)

.PHONY: bench-backfill
DAYS ?= 30
bench-backfill: install  ## a backfill through the real pipeline, with Airflow on PostgreSQL; then all hits; then one setting changed
	@$(STAGES)/python -m benchmarks.backfill --days $(DAYS)

.PHONY: docs
docs: install  ## write docs/dags.md from the DAGs, docs/settings.md from the provider's settings
	@$(AIRFLOW)/python scripts/dags_page.py
	@$(AIRFLOW)/python scripts/settings_page.py

.PHONY: wheel
wheel: install  ## build the distribution, stages and Airflow provider, into dist/ (docs/provider.md)
	@scripts/wheel.sh dist

lint: install  ## ruff, black, mypy
	@$(STAGES)/ruff check src dags plugins tests benchmarks scripts ci/*.py
	@$(STAGES)/black --check --quiet src dags plugins tests benchmarks scripts ci/*.py && echo "black: clean"
	@$(STAGES)/mypy --strict src ci/suites.py ci/suite_runner.py

format: install
	@$(STAGES)/ruff check --fix --quiet src dags plugins tests benchmarks scripts ci/*.py || true
	@$(STAGES)/black --quiet src dags plugins tests benchmarks scripts ci/*.py

lock:  ## compile both locks anew from pyproject.toml
	@scripts/lock.sh

clean:  ## remove the stack's data and the environments
	@if [ -d .sim2edge ]; then $(STAGES)/sim2edge down; fi
	rm -rf .sim2edge .venvs .coverage* .pytest_cache .mypy_cache .ruff_cache .hypothesis
