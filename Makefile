# Every target sets up its own environment in .venv: all that is needed is git, make and Python 3.11 or newer.
PYTHON ?= $(shell for p in python3.14 python3.13 python3.12 python3.11 python3 python; do \
	command -v $$p >/dev/null 2>&1 && $$p -c 'import sys, venv; sys.exit(sys.version_info < (3, 11))' 2>/dev/null \
	&& { echo $$p; break; }; done)
VENV := .venv
BIN := $(VENV)/bin
TESTED := $(VENV)/wheel
SOURCES := pyproject.toml README.md LICENSE $(shell find octy_middleware workflows/octy_workflows worker/octy_worker -type f -not -name '*.pyc')
# Two more than there are processors, because tests also wait for servers.
WORKERS ?= $(shell $(PYTHON) -c 'import os; print((os.cpu_count() or 1) + 2)')
# Which tests run on PostgreSQL: those of code with SQL of its own, or all. See tests/support/database_choice.py.
POSTGRESQL ?= own-sql
VERSIONS := python3.11 python3.12 python3.13 python3.14
DATA ?= examples/data/login-attempts.csv
REPORT ?= demo-report.json
HEADERS ?= 10000000
KILLS ?= 60

.DEFAULT_GOAL := help
.PHONY: help install demo dev test test-postgresql test-all proofs coverage dist bench conformance fuzz load faults check format lock clean

help: ## Show these targets
	@grep -hE '^[a-z-]+:.*## ' $(MAKEFILE_LIST) | sed -E 's/^([a-z-]+):.*## (.*)/  make \1\t\2/' | expand -t 20

install: $(VENV)/.installed ## Set up .venv from the hashed lock

$(VENV)/.installed: requirements.lock pyproject.toml
	@test -n "$(PYTHON)" || { echo "octy: Python 3.11 or newer with the venv module is needed (Debian: apt install python3-venv)"; exit 1; }
	@echo "octy: setting up $(VENV) with $$($(PYTHON) --version)"
	@$(PYTHON) -m venv --clear $(VENV)
	@$(BIN)/python -m pip install --quiet --disable-pip-version-check --require-hashes --requirement requirements.lock
	@$(BIN)/python -m pip install --quiet --disable-pip-version-check --no-deps --no-build-isolation --editable .
	@touch $@
	@echo "octy: $(VENV) is ready"

demo: install ## The main job on real input, from nothing (DATA=file.csv REPORT=file.json)
	@$(BIN)/octy demo --data "$(DATA)" --report "$(REPORT)"

dev: install ## The whole stack, left running; Ctrl-C stops it
	@$(BIN)/octy dev

PURELIB := import sysconfig; print(sysconfig.get_path("purelib"))

# Tests run the wheel, in an environment of its own that takes all other packages from $(VENV). Python reads *.pth of
# its own environment only: coverage's is copied, or processes that tests start would not be measured.
$(TESTED)/.installed: $(VENV)/.installed $(SOURCES)
	@echo "octy: building the wheel that is tested"
	@rm -rf $(TESTED)
	@$(BIN)/python -m venv --without-pip $(TESTED)
	@ours=$$($(BIN)/python -c '$(PURELIB)') && theirs=$$($(TESTED)/bin/python -c '$(PURELIB)') && \
		echo "$$ours" > "$$theirs/others.pth" && cp "$$ours/a1_coverage.pth" "$$theirs"
	@$(BIN)/python -m pip --python $(TESTED)/bin/python install --quiet --disable-pip-version-check \
		--no-deps --no-build-isolation .
	@for program in $(BIN)/*; do copy=$(TESTED)/bin/$${program##*/}; test -f $$program -a ! -e $$copy || continue; \
		cp $$program $$copy; ! head -c 2 $$program | grep -q '#!' || sed -i '1s#$(BIN)/python#$(TESTED)/bin/python#' $$copy; done
	@touch $@

# Whole hosts, the whole stack and a thousand connections: 160 s of CPU, and their parts have tests of their own in
# `make test`. `make proofs` runs them.
FULL_SIZE := \
	tests/dev/test_whole_stack.py \
	tests/packaging/test_readme_steps.py \
	tests/packaging/test_staff_install.py \
	tests/packaging/test_staff_page_steps.py \
	tests/story/test_secured_temporal.py \
	tests/worker/web/test_idle_connections.py

# Without compileall, every process of a test compiles what it imports, where PYTHONDONTWRITEBYTECODE is set.
RUN_PYTEST = PYTHONSAFEPATH=1 PYTHONPATH=$(CURDIR)/tests OCTY_TEST_WHEEL=1 $(TESTED)/bin/python -m pytest
PYTEST = $(BIN)/python -m compileall -q -x '/test_[^/]*$$' tests && \
	$(RUN_PYTEST) -n $(WORKERS) --dist loadfile --no-loadscope-reorder

# pytest's own compiled form of the tests: without it, each worker compiles all of them, for 10 s of CPU.
COMPILE_TESTS = test -z "$$(find tests -name '*.py' -newer $(TESTED)/.compiled 2>&1 | head -n 1)" || { \
	for part in tests/worker "tests --ignore=tests/worker --ignore=tests/proofs"; do \
		PYTHONDONTWRITEBYTECODE= $(RUN_PYTEST) -p no:cacheprovider --collect-only $$part >/dev/null & \
	done; wait; touch $(TESTED)/.compiled; }

test: $(TESTED)/.installed ## Tests of the built wheel, several at a time (WORKERS=n; TESTS="tests/worker -k mail" for some)
	@begun=$$(date +%s); $(if $(TESTS),,$(COMPILE_TESTS);) $(PYTEST) \
		$(or $(TESTS),--postgresql=$(POSTGRESQL) --ignore=tests/proofs $(FULL_SIZE:%=--ignore=%)) \
		$(if $(TESTS),,&& mkdir -p .octy && \
		echo "$$(($$(date +%s) - begun)) $$(git rev-parse HEAD 2>/dev/null)" > .octy/test-seconds)

test-postgresql: $(TESTED)/.installed ## The tests that `make test` runs on SQLite only, on PostgreSQL
	@$(PYTEST) --postgresql=others --ignore=tests/proofs $(FULL_SIZE:%=--ignore=%)

proofs: WORKERS := logical # they load the processors themselves
proofs: $(TESTED)/.installed ## A short form of every proof below, with tests of the proofs and of whole hosts
	@$(PYTEST) tests/proofs $(FULL_SIZE)

coverage: $(TESTED)/.installed ## Branch coverage of all tests but tests/proofs: a table, and .octy/coverage/index.html
	@$(PYTEST) --cov --cov-report=term:skip-covered --cov-report=html:.octy/coverage -o timeout=1500 \
		$(or $(TESTS),--postgresql=$(POSTGRESQL) --ignore=tests/proofs)

test-all: ## All tests on every Python of 3.11 to 3.14 that is found, each with an environment of its own
	@tested=; failed=; for python in $(VERSIONS); do \
		command -v $$python >/dev/null && $$python -c 'import venv, ensurepip' 2>/dev/null || \
			{ echo "octy: $$python is not installed: left out"; continue; }; \
		echo "octy: testing on $$($$python --version)"; tested="$$tested $$python"; \
		$(MAKE) --no-print-directory test PYTHON=$$python VENV=.venv-$$python FULL_SIZE= POSTGRESQL=all || \
			failed="$$failed $$python"; \
	done; \
	test -n "$$tested" || { echo "octy: none of $(VERSIONS) is installed"; exit 1; }; \
	test -z "$$failed" || { echo "octy: tests failed on$$failed, of$$tested"; exit 1; }; \
	echo "octy: all tests passed on$$tested"

dist: install ## Build the wheel and the sdist into dist/, and say how to install them
	@rm -f dist/octy_middleware-*
	@$(BIN)/python -m build --quiet --no-isolation --outdir dist .
	@cd dist && for wheel in *.whl; do \
		echo "octy: built dist/$$wheel and dist/$${wheel%%-py3-*}.tar.gz"; \
		echo "octy: install in a host app: pip install dist/$$wheel; on a worker host: pip install \"dist/$$wheel[worker]\""; done

bench: install ## Every figure and every goal, beside others and a control: writes docs/benchmarks.md (BENCH=--quick)
	@PYTHONPATH=tests $(BIN)/python -m proofs.benchmarks $(or $(BENCH),--write docs) $(if $(SEED),--seed $(SEED))

conformance: install ## Every framework on every server: writes the table of docs/conformance.md
	@PYTHONPATH=tests $(BIN)/python -m proofs.conformance --write docs/conformance.md

fuzz: install ## Ten million headers through the real code (HEADERS=10000000 SEED=n)
	@PYTHONPATH=tests $(BIN)/python -m proofs.fuzz --headers $(HEADERS) $(if $(SEED),--seed $(SEED))

load: install ## Exactness, kills, floods, revocation, outages, with figures; each check of staff is removed once
	@for proof in exactness kills refusals revocation key_cache_flood hash_flood outages audit_log order_verification; do \
		PYTHONPATH=tests $(BIN)/python -m proofs.load.$$proof || exit 1; done
	@PYTHONPATH=tests $(BIN)/python -m proofs.security.timing --samples 5000
	@PYTHONPATH=tests $(BIN)/python -m proofs.security.checks_removed

faults: install ## Kill and hinder every part under load, and check from the outside that nothing was lost (KILLS=n SEED=n REPORT=file)
	@PYTHONPATH=tests $(BIN)/python -m proofs.faults --kills $(KILLS) --seed $(or $(SEED),1) --report $(if $(filter file,$(origin REPORT)),faults-report.json,$(REPORT))

check: install ## Format, lint, types, import contract
	@$(BIN)/ruff format --check .
	@$(BIN)/ruff check .
	@$(BIN)/mypy
	@$(BIN)/mypy examples
	@$(BIN)/lint-imports
	@PYTHONPATH=tests $(BIN)/python -m support.import_graph
	@echo "octy: check is clean"

format: install ## Format the code and sort imports
	@$(BIN)/ruff check --fix --quiet . || true
	@$(BIN)/ruff format .

lock: install ## Renew requirements.lock (hashes, no hosts)
	@$(BIN)/python -m pip install --quiet --disable-pip-version-check uv
	@$(BIN)/uv pip compile --quiet --universal --python-version 3.11 --generate-hashes --no-header --no-annotate \
		--no-emit-index-url --no-emit-find-links --all-extras --group test --upgrade --output-file requirements.lock pyproject.toml
	@echo hatchling | $(BIN)/uv pip compile --quiet --universal --python-version 3.11 --generate-hashes --no-header --no-annotate \
		--no-emit-index-url --no-emit-find-links --extra worker --extra postgres --extra telemetry --constraint requirements.lock \
		--output-file worker/deploy/requirements.lock pyproject.toml -
	@echo "octy: requirements.lock and worker/deploy/requirements.lock are renewed"

clean: ## Remove what the targets made
	rm -rf $(VENV) $(VERSIONS:%=.venv-%) .octy dist build .mypy_cache .ruff_cache .pytest_cache .import_linter_cache .hypothesis demo-report.json bench-report.json faults-report.json
