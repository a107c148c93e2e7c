# make tutorial [SEED=7] [OUT=runs/x]   install into .venv, run the tiny pipeline, say where the report is
# make test [COVERAGE=1]                install what the tests need, run them all (COVERAGE=1: fail below 90 % of the lines)
# make test-deepspeed                   install DeepSpeed too (Linux), run the tests that need it
# make label [LABELS=labels.db]         people label: install, make a store with outputs to rank, open its pages in a browser
# make test-browser                     the pages in a headless Chromium, with axe's check of accessibility (npm)
# make notebooks | lab | colab | lint | coverage | clean
#
# Every target installs what it needs once (the stamp files .venv/.installed-*). Plain lines: README.
#   PYTHON=python3.12                another interpreter (3.11 or newer)
#   TORCH="torch==2.13.0 --index-url https://download.pytorch.org/whl/cpu"   another build of torch

SEED ?= 1
OUT ?= runs/tiny
WORKERS ?= 2
LABELS ?= runs/labeling/labels.db
COVERAGE ?=
TORCH ?= torch==2.13.0

VENV := .venv
COLAB := .venv-colab
PY := $(VENV)/bin/python
PIP := $(PY) -m pip install --disable-pip-version-check -c constraints.txt
NEW_ENOUGH := import sys, ensurepip, venv; sys.exit(not (3, 11) <= sys.version_info[:2] < (3, 15))
PYTHON ?= $(shell for p in python3 python3.13 python3.12 python3.11 python3.14 python; do \
	"$$p" -c "$(NEW_ENOUGH)" >/dev/null 2>&1 && { command -v "$$p"; break; }; done)

.PHONY: help tutorial label test test-browser test-deepspeed coverage lint notebooks lab colab clean

help:
	@sed -n '1,11s/^# \{0,1\}//p' Makefile

tutorial: $(VENV)/.installed-run
	$(PY) scripts/pipeline.py --profile tiny --seed $(SEED) --out $(OUT)

label: $(VENV)/.installed-labeling
	@test -f $(LABELS) || { $(PY) scripts/label.py init $(LABELS) --name "first labels" --no-rate && \
		$(PY) scripts/label.py import $(LABELS) data/lessons/comparisons/test.jsonl.gz --form outputs; }
	$(PY) scripts/label.py serve $(LABELS) --open

# Two workers of one thread each beat one process of two threads on models this small.
test: $(VENV)/.installed-dev
	OMP_NUM_THREADS=1 HF_HUB_OFFLINE=1 $(PY) -m pytest -n $(WORKERS) --dist worksteal -m "not hub" \
		$(if $(COVERAGE),--cov --cov-report=term-missing:skip-covered --cov-fail-under=90)

test-deepspeed: $(VENV)/.installed-dev
	$(PIP) -e ".[deepspeed]"
	OMP_NUM_THREADS=1 HF_HUB_OFFLINE=1 $(PY) -m pytest -n $(WORKERS) --dist worksteal -k "zero or deepspeed" tests/core/test_processes.py

test-browser: $(VENV)/.installed-dev
	npm install --no-save --no-package-lock axe-core@4
	OMP_NUM_THREADS=1 $(PY) -m pytest -m browser tests/labeling

coverage:
	$(MAKE) test COVERAGE=1

lint: $(VENV)/.installed-dev
	$(PY) -m ruff check .
	$(PY) -m ruff format --check .
	$(PY) -m mypy

# One edits notebooks/src/NN_name.py; notebooks and solutions are built from it, executed top to bottom, and committed.
notebooks: $(VENV)/.installed-dev
	$(PY) scripts/build_notebooks.py

lab: $(VENV)/.installed-dev
	$(PIP) "jupyterlab>=4"
	$(PY) -m jupyterlab notebooks/00_start_here.ipynb

# Every lesson on little data, with the versions that Colab has; writes nothing into notebooks/. Python 3.11 or 3.12.
colab: $(COLAB)/.installed
	OMP_NUM_THREADS=1 HF_HUB_OFFLINE=1 $(COLAB)/bin/python scripts/build_notebooks.py --fast

$(COLAB)/.installed: pyproject.toml constraints-colab.txt
	"$(PYTHON)" -m venv --clear $(COLAB)
	$(COLAB)/bin/python -m pip install --disable-pip-version-check $(TORCH)
	$(COLAB)/bin/python -m pip install --disable-pip-version-check -c constraints-colab.txt -e ".[notebooks]" ipython
	@touch $@

# Torch alone and first, so that nothing else can pull in another build of it.
$(VENV)/.installed-run: pyproject.toml constraints.txt
	@test -x $(PY) || "$(PYTHON)" -c "$(NEW_ENOUGH)" 2>/dev/null || { \
		echo "No Python 3.11 to 3.14 with the venv module was found: install one (Debian, Ubuntu: apt install python3-venv) or name it with PYTHON=..." >&2; exit 2; }
	@$(PY) -m pip --version >/dev/null 2>&1 || "$(PYTHON)" -m venv --clear $(VENV)
	$(PIP) $(TORCH)
	$(PIP) -e .
	@touch $@

$(VENV)/.installed-labeling: $(VENV)/.installed-run
	$(PIP) -e ".[labeling]"
	@touch $@

$(VENV)/.installed-dev: $(VENV)/.installed-run
	$(PIP) -e ".[trl,lora,feedback,evaluation,toxicity,tracking,labeling,database,notebooks,dev,reference]"
	@touch $@

# Caches only: runs/ and .venv stay.
clean:
	rm -rf .pytest_cache .ruff_cache .mypy_cache .hypothesis .coverage htmlcov build dist *.egg-info
	find . -name __pycache__ -type d -not -path "./$(VENV)/*" -prune -exec rm -rf {} +
