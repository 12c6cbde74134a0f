# Two commands do all the set-up: `make demo` and `make test`.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin

.PHONY: install demo test test-slow test-timm lint clean

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

lint: install
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy

clean:
	rm -rf $(VENV) .venv-timm demo build dist .pytest_cache .mypy_cache .ruff_cache
