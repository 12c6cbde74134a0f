# Two commands do all the set-up: `make demo` and `make test`.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
VISION := .venv-vision

.PHONY: install demo test test-slow test-timm peers-env test-anomalib peers docs lint clean

install: $(VENV)/installed

# torch comes first and pinned, so that pip takes the small CPU build where one is at hand.
$(VENV)/installed: pyproject.toml products/pyproject.toml constraints.txt
	$(PYTHON) -m venv $(VENV)
	$(BIN)/pip install --quiet --disable-pip-version-check -c constraints.txt torch
	$(BIN)/pip install --quiet --disable-pip-version-check -c constraints.txt -e '.[train,backbones,export,openvino,dev]' \
	  -e ./products
	touch $@

# Two of the presets' four members: half the time, and the same image.
demo: install
	$(BIN)/patchebm demo --out demo --calibration.members 2

# -n: a test process per core, one torch thread each (two would only fight for the cores).
test: install
	OMP_NUM_THREADS=1 $(BIN)/python -m pytest -n auto -m 'not slow'

test-slow: install
	$(BIN)/python -m pytest -m slow

# timm and anomalib import torchvision, which needs a torch of its own release: hence an environment of its own
# (6 GB), for the tests of both and for the peers of `benchmarks/peers`. anomalib asks for an older jsonargparse.
peers-env: $(VISION)/installed

$(VISION)/installed: pyproject.toml products/pyproject.toml constraints.txt
	$(PYTHON) -m venv $(VISION)
	$(VISION)/bin/pip install --quiet --disable-pip-version-check torch==2.14.1 torchvision==0.29.1
	grep -v '^torch==\|^jsonargparse==' constraints.txt > $(VISION)/constraints.txt
	$(VISION)/bin/pip install --quiet --disable-pip-version-check -c $(VISION)/constraints.txt \
	  -e '.[timm,anomalib]' -e ./products pytest pytest-timeout
	touch $@

test-timm: peers-env
	OMP_NUM_THREADS=1 $(VISION)/bin/python -m pytest tests/features/test_timm.py

test-anomalib: peers-env
	OMP_NUM_THREADS=1 $(VISION)/bin/python -m pytest tests/anomalib

# Goes on where a killed one stopped. The timings are only worth something on a quiet machine.
peers: peers-env
	$(VISION)/bin/python -W ignore -m benchmarks.peers run

# The documentation site, in site/. NO_MKDOCS_2_WARNING: the theme would advertise its successor.
docs: $(VENV)/docs-installed
	NO_MKDOCS_2_WARNING=1 $(BIN)/mkdocs build --quiet --strict
	@echo "open site/index.html"

$(VENV)/docs-installed: $(VENV)/installed
	$(BIN)/pip install --quiet --disable-pip-version-check -c constraints.txt -e '.[docs]'
	touch $@

lint: install
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy

clean:
	rm -rf $(VENV) $(VISION) demo site build dist .pytest_cache .mypy_cache .ruff_cache
