# Two commands do all the set-up: `make demo` and `make test`.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
VISION := .venv-vision

.PHONY: install demo test test-slow test-station test-line test-scale test-timm peers-env test-anomalib peers docs locales lint clean

install: $(VENV)/installed

# torch comes first and pinned, so that pip takes the small CPU build where one is at hand.
$(VENV)/installed: pyproject.toml products/pyproject.toml constraints.txt
	$(PYTHON) -m venv $(VENV)
	$(BIN)/pip install --quiet --disable-pip-version-check -c constraints.txt torch
	$(BIN)/pip install --quiet --disable-pip-version-check -c constraints.txt -e '.[train,backbones,export,openvino,station,camera,line,dev]' \
	  -e ./products
	touch $@

# Two of the presets' folds calibrate: half the time.
demo: install
	$(BIN)/patchebm demo --out demo --calibration.members 2

# -n: a test process per core, one torch thread each (two would only fight for the cores).
test: install
	OMP_NUM_THREADS=1 $(BIN)/python -m pytest -n auto -m 'not slow and not station and not line' --ignore tests/scale

test-slow: install
	OMP_NUM_THREADS=1 $(BIN)/python -m pytest -m 'slow and not station and not line'

# The station on PostgreSQL, in a browser, by its OpenAPI document, killed and on a full disk: what is missing is skipped
# with a reason. On SQLite, with requests alone, it is tested by `make test`.
test-station: install
	OMP_NUM_THREADS=1 $(BIN)/python -m pytest -n auto -m station tests/station

# What `patchebm score` and `patchebm fleet` need (600 MB); for their tests a server of S3, and Spark (500 MB; it needs java).
$(VENV)/scale-installed: $(VENV)/installed
	$(BIN)/pip install --quiet --disable-pip-version-check -c constraints.txt -e '.[scale]' 'moto[s3]' flask flask-cors pyspark
	touch $@

test-scale: $(VENV)/scale-installed
	OMP_NUM_THREADS=1 $(BIN)/python -m pytest tests/scale 'tests/test_benchmarks.py::test_it_starts[scale]'

# The station and its PLC: Modbus TCP, OPC UA, S7 and MQTT with real counterparts on loopback, which are killed.
test-line: install
	OMP_NUM_THREADS=1 $(BIN)/python -m pytest -n auto -m line tests/station/line

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
	$(VISION)/bin/python -W ignore -m benchmarks.peers

# The documentation site, in site/. NO_MKDOCS_2_WARNING: the theme would advertise its successor.
docs: $(VENV)/docs-installed
	NO_MKDOCS_2_WARNING=1 $(BIN)/mkdocs build --quiet --strict
	@echo "open site/index.html"

$(VENV)/docs-installed: $(VENV)/installed
	$(BIN)/pip install --quiet --disable-pip-version-check -c constraints.txt -e '.[docs]'
	touch $@

# The station's languages: texts are taken from the source, and the catalogues that are installed are written.
LOCALES := src/patchebm/station/locales
locales: install
	$(BIN)/pybabel -q extract -F $(LOCALES)/babel.cfg -k noop --no-location --sort-output -o $(LOCALES)/station.pot \
	  src/patchebm/station
	$(BIN)/pybabel -q update -N --ignore-obsolete --ignore-pot-creation-date --width 108 -D station -i $(LOCALES)/station.pot -d $(LOCALES)
	$(BIN)/pybabel -q compile -D station -d $(LOCALES)
	rm $(LOCALES)/station.pot

lint: install
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy

clean:
	rm -rf $(VENV) $(VISION) demo site build dist .pytest_cache .mypy_cache .ruff_cache
