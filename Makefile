# Two commands for everyone: `make demo` and `make test`. Nothing here needs root.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
STAMP := $(VENV)/.installed
# Servers of several tests share two cores: what failed beside others is tried once more alone, and must pass there.
# At first without pytest's own look at each assert, which costs 6 s in each process of a fresh checkout: then it is there.
FIRST = --assert=plain
AGAIN = echo "Once more, one at a time, what failed:"; $(BIN)/pytest -v --last-failed --last-failed-no-failures none

# Where this is set, every test process would compile all tests anew.
export PYTHONDONTWRITEBYTECODE =

UNIT = not lab and not cluster and not mesh and not long
REAL = lab or cluster or mesh or long
# Tests on real servers mostly wait, so the long ones of the unit tests run beside them: three at a time, a file's tests with the same
# servers, the longest files first (tests/conftest.py).
SHARED = --dist loadfile --no-loadscope-reorder

.PHONY: demo test unit long lab cluster mesh check bench bench-judge bench-scale install format clean

demo: install ## four versions of a model, real servers, one of them good
	@$(BIN)/rollouts demo $(DEMO)

test: install ## unit tests, then those on real servers: lab, cluster (Kubernetes API), mesh (Istio on top)
	@$(BIN)/python -m rollout_controller.lab.parts lab cluster mesh
	$(BIN)/pytest -q -n 4 $(FIRST) --dist worksteal -m "$(UNIT)" || { $(AGAIN) -m "$(UNIT)"; }
	$(BIN)/pytest -v -n 3 $(FIRST) $(SHARED) -m "$(REAL)" --no-header || { $(AGAIN) -m "$(REAL)"; }

unit: install
	$(BIN)/pytest -q -n 4 --dist worksteal -m "$(UNIT)"

long: install
	$(BIN)/pytest -q -n 4 --dist worksteal -m long

lab cluster mesh: install
	@$(BIN)/python -m rollout_controller.lab.parts $@
	$(BIN)/pytest -v -n 3 $(SHARED) -m $@

check: install ## format, lint, types, import contracts
	$(BIN)/ruff format --check rollout_controller tests benchmarks tools
	$(BIN)/ruff check rollout_controller tests benchmarks tools
	$(BIN)/mypy
	$(BIN)/lint-imports

bench: install ## figures of docs/benchmarks.md
	$(BIN)/python -m benchmarks.judge
	$(BIN)/python -m benchmarks.startup
	$(BIN)/python -m benchmarks.rollback

bench-judge: install ## docs/judge-tables.md: the judge and other rules in made worlds; goes on where it was ended
	$(BIN)/python -m benchmarks.judge_tables $(BENCH)

bench-scale: install ## 1,000 active attempts in one controller
	@$(BIN)/python -m rollout_controller.lab.parts
	$(BIN)/python -m benchmarks.scale

install: $(STAMP)

$(STAMP): pyproject.toml constraints.txt
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || { echo "Python 3.11 or newer is needed; set PYTHON=/path/to/python3.11"; exit 1; }
	@echo "Installing into $(VENV) (once, under a minute) ..."
	@$(PYTHON) -m venv $(VENV)
	@$(BIN)/python -m pip install --quiet --disable-pip-version-check uv==0.13.9
	@$(BIN)/uv pip install --quiet --compile-bytecode --python $(BIN)/python -c constraints.txt -e '.[dev]' || \
	  { echo "uv could not install; trying pip, which is slower ..."; \
	    $(BIN)/python -m pip install --quiet --disable-pip-version-check -c constraints.txt -e '.[dev]'; }
	@$(BIN)/python -m compileall -q rollout_controller
	@touch $@

format: install
	$(BIN)/ruff check --fix -q rollout_controller tests benchmarks tools
	$(BIN)/ruff format rollout_controller tests benchmarks tools

clean: ## environment, lab and caches of this tree; built servers stay in the user's cache
	-@test -x $(BIN)/rollouts && $(BIN)/rollouts lab down 2>/dev/null
	rm -rf $(VENV) .lab .mypy_cache .ruff_cache .pytest_cache .hypothesis .import_linter_cache
