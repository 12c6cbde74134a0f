# Two commands do all the set-up: `make demo` and `make test`.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin

.PHONY: install demo test test-slow test-timm peers-env test-anomalib peers lint clean

install: $(VENV)/installed

# torch comes first and pinned, so that pip takes the small CPU build where one is at hand.
$(VENV)/installed: pyproject.toml constraints.txt
	$(PYTHON) -m venv $(VENV)
	$(BIN)/pip install --quiet --disable-pip-version-check -c constraints.txt torch
	$(BIN)/pip install --quiet --disable-pip-version-check -c constraints.txt -e '.[train,backbones,export,openvino,dev]'
	touch $@

# Two of the presets' four members: half the time, and the same picture.
demo: install
	$(BIN)/patchebm demo --out demo --calibration.members 2

# -n: a test process per core, one torch thread each (two would only fight for the cores).
test: install
	OMP_NUM_THREADS=1 $(BIN)/python -m pytest -n auto -m 'not slow'

test-slow: install
	$(BIN)/python -m pytest -m slow

# torchvision, which timm imports, needs a torch of its own release: hence an environment of its own (6 GB).
test-timm: .venv-timm/installed
	OMP_NUM_THREADS=1 .venv-timm/bin/python -m pytest tests/features/test_timm.py

.venv-timm/installed: pyproject.toml constraints.txt
	$(PYTHON) -m venv .venv-timm
	.venv-timm/bin/pip install --quiet --disable-pip-version-check torch==2.14.1 torchvision==0.29.1
	grep -v '^torch==' constraints.txt > .venv-timm/constraints.txt
	.venv-timm/bin/pip install --quiet --disable-pip-version-check -c .venv-timm/constraints.txt \
	  -e '.[timm]' pytest pytest-timeout
	touch $@

# The peers of `benchmarks/peers` and the plug-in of anomalib: an environment of its own for the same reason
# (6 GB). anomalib asks for an older jsonargparse.
peers-env: .venv-anomalib/installed

.venv-anomalib/installed: pyproject.toml constraints.txt
	$(PYTHON) -m venv .venv-anomalib
	.venv-anomalib/bin/pip install --quiet --disable-pip-version-check torch==2.14.1 torchvision==0.29.1
	grep -v '^torch==\|^jsonargparse==' constraints.txt > .venv-anomalib/constraints.txt
	.venv-anomalib/bin/pip install --quiet --disable-pip-version-check -c .venv-anomalib/constraints.txt \
	  -e '.[anomalib]' pytest pytest-timeout
	touch $@

test-anomalib: peers-env
	OMP_NUM_THREADS=1 .venv-anomalib/bin/python -m pytest tests/anomalib

# Goes on where a killed one stopped. The timings are only worth something on a quiet machine.
peers: peers-env
	.venv-anomalib/bin/python -W ignore -m benchmarks.peers run

lint: install
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy

clean:
	rm -rf $(VENV) .venv-timm .venv-anomalib demo build dist .pytest_cache .mypy_cache .ruff_cache
