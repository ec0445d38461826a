# Everything that is typed for fitlab. Each target first makes .venv, or refreshes it when something it is made from is newer.
#
#   make demo [CSV=path]    from a measured file to a spec target, with figures in demo-output/
#                           (a wide file: CSV=path ARGS="--columns devices", or cycles)
#   make test               the tests            make lint    style, types, layers      make format    rewrite to style
#   make bench [ARGS=...]   the benchmarks       make wheel   dist/*.whl, which installs without a compiler
#   make gpu [ARGS=...]     what only a machine with an NVIDIA GPU can show (benchmarks/gpu.sh)
#   make setup              only .venv           make clean   remove what was made
#
# PYTHON=/path/to/python chooses the Python of .venv; TORCH_INDEX and WERROR are explained in tools/setup.

SHELL := bash
export PYTHON TORCH_INDEX WERROR

BIN := .venv/bin
STAMP := .venv/made
SOURCES := pyproject.toml constraints.txt CMakeLists.txt tools/setup $(wildcard sim/core/*.h sim/core/devices/*.h sim/cpu/*)
PACKAGES := sim fitlab studies
CHECKED := $(PACKAGES) tests benchmarks

.PHONY: help setup demo test lint format bench gpu wheel clean

help:
	@sed -n '/^#/!q; s/^# \{0,1\}//p' Makefile

setup: $(STAMP)

$(STAMP): $(SOURCES)
	@tools/setup
	@touch $@

demo: $(STAMP)
	@$(BIN)/python -m studies.demo $(if $(CSV),--csv "$(CSV)") $(ARGS)

# One thread a worker: two workers fill two cores, and no result depends on the number of threads.
test: $(STAMP)
	@OMP_NUM_THREADS=1 $(BIN)/python -m pytest -n 2 $(ARGS)

lint: $(STAMP)
	$(BIN)/ruff check $(CHECKED)
	$(BIN)/ruff format --check $(CHECKED)
	$(BIN)/mypy $(PACKAGES) benchmarks
	$(BIN)/lint-imports
	$(BIN)/codespell

format: $(STAMP)
	$(BIN)/ruff check --fix $(CHECKED)
	$(BIN)/ruff format $(CHECKED)

bench: $(STAMP)
	@$(BIN)/python -m benchmarks $(ARGS)

# With a Python whose torch sees the GPU, which that of .venv does not.
gpu:
	@bash benchmarks/gpu.sh $(ARGS)

wheel: $(STAMP)
	@rm -rf dist
	@$(BIN)/python -m pip --disable-pip-version-check wheel --quiet --no-deps --no-build-isolation -w dist .
	@ls dist

clean:
	rm -rf .venv build dist demo-output .pytest_cache .mypy_cache .ruff_cache .hypothesis .import_linter_cache
	find $(CHECKED) -name __pycache__ -type d -prune -exec rm -rf {} +
