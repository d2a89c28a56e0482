# Two commands for everyone: `make demo` and `make test`. Nothing here needs root.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
STAMP := $(VENV)/.installed
# Two labs share two cores: what failed beside another is tried once more alone, and must pass there.
AGAIN = echo "Once more, one at a time, what failed:"; $(BIN)/pytest -v --last-failed --last-failed-no-failures none

# Where this is set, every test process would compile all tests anew.
export PYTHONDONTWRITEBYTECODE =

UNIT = not lab and not cluster and not mesh

.PHONY: demo test unit lab cluster mesh check bench bench-judge bench-scale install format clean

demo: install ## four versions of a model, real servers, one of them good
	@$(BIN)/rollouts demo $(DEMO)

test: install ## unit tests, then the tiers on real servers: lab, cluster (Kubernetes API), mesh (Istio on top)
	@$(BIN)/python -m rollout_controller.lab.parts lab cluster mesh
	$(BIN)/pytest -q -n 2 -m "$(UNIT)" || { $(AGAIN) -m "$(UNIT)"; }
	$(BIN)/pytest -v -n 2 --dist loadfile -m lab --no-header || { $(AGAIN) -m lab; }
	$(BIN)/pytest -v -n 2 --dist loadfile -m cluster --no-header || { $(AGAIN) -m cluster; }
	$(BIN)/pytest -v -m mesh --no-header || { $(AGAIN) -m mesh; }

unit: install
	$(BIN)/pytest -q -n 2 -m "$(UNIT)"

lab cluster: install
	@$(BIN)/python -m rollout_controller.lab.parts $@
	$(BIN)/pytest -v -n 2 --dist loadfile -m $@

mesh: install
	@$(BIN)/python -m rollout_controller.lab.parts mesh
	$(BIN)/pytest -v -m mesh

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
