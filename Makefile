# `make lab` and `make test` need CPython 3.11 or newer, pip, git and make; they set up the rest.
PYTHON ?= python3
VENV   := .venv
BIN    := $(VENV)/bin
READY  := $(VENV)/.ready
NB     ?=
SEEDS  ?= 0-4
JOBS   ?= 2
LABFLAGS ?=
DIR    ?=
FULL   ?=
GRADEFLAGS ?=
# One BLAS thread a process: the matrices are small, and two processes share the cores.
export OMP_NUM_THREADS := 1
export OPENBLAS_NUM_THREADS := 1
export MKL_NUM_THREADS := 1
export PYDEVD_DISABLE_FILE_VALIDATION := 1

.DEFAULT_GOAL := help
.PHONY: help setup lab test unit notebooks-test lint text build practice assignments grade \
	classroom-test render progress sweep reference bench mutants portability site site-serve site-test lock clean

help:  ## list the targets
	@grep -hE '^[a-z-]+:.*##' $(MAKEFILE_LIST) | sed -E 's/^([a-z-]+):[^#]*## */\1\t/' | expand -t 18

$(READY): requirements.txt
	@$(PYTHON) -c 'import sys; v = sys.version_info; sys.exit(0 if v >= (3, 11) else f"Python 3.11 or newer is needed, {sys.executable} is {v.major}.{v.minor}; name another one: make PYTHON=python3.12 ...")'
	$(PYTHON) -m venv --clear $(VENV)
	$(BIN)/python -m pip install --quiet --disable-pip-version-check -r requirements.txt
	@touch $@

setup: $(READY)  ## set up .venv from requirements.txt (every other target does it when needed)

lab: $(READY)  ## open JupyterLab on the notebooks
	$(BIN)/jupyter lab --notebook-dir=notebooks $(LABFLAGS)

test: lint unit notebooks-test  ## execute and verify everything

lint: $(READY)  ## style of code, also in the notebooks
	$(BIN)/ruff check .

unit: $(READY)  ## structure, golden vectors, gradients, mutants, generated pages
	$(BIN)/python -m pytest tests -n $(JOBS)

notebooks-test: $(READY)  ## nbval: execute each notebook, compare with its stored outputs
	$(BIN)/python -m pytest --nbval --nbval-current-env --nbval-cell-timeout=600 \
		-n $(JOBS) --dist loadscope notebooks

text: $(READY)  ## a notebook as text to edit: make text NB=13
	$(BIN)/python -m tools.text $(NB)

build: $(READY)  ## from that text, executed, to the notebook: make build NB=13
	$(BIN)/python -m tools.build $(NB)

practice: $(READY)  ## a copy to practise on, core functions taken out: make practice NB=13
	$(BIN)/python -m classroom.practice $(NB)

assignments: $(READY)  ## for a class: students' and teachers' copies: make assignments NB=13 (FULL=1)
	$(BIN)/python -m classroom.assignments $(if $(FULL),--full) $(NB)

grade: $(READY)  ## grade what a class handed in: make grade DIR=submissions (NB=13)
	@test -n "$(DIR)" || { echo "which folder? make grade DIR=submissions"; exit 2; }
	$(BIN)/python -m classroom.grade --jobs $(JOBS) "$(DIR)" $(NB) $(GRADEFLAGS)

classroom-test: $(READY)  ## assignments of all notebooks end to end (the unit tests do three)
	CLASSROOM=all $(BIN)/python -m pytest tests/test_grading.py -n $(JOBS)

render: $(READY)  ## execute notebooks in place: make render, make render NB=13
	$(BIN)/python -m tools.render $(NB)

progress: $(READY)  ## PROGRESS.md, README's table, IMPLEMENTATION_TRACKS.md, covers, headers
	$(BIN)/python -m tools.progress

sweep: $(READY)  ## do the claims hold under other seeds: make sweep SEEDS=0-4 NB=02 (DASK_SCHEDULER=...)
	$(BIN)/python -m tools.sweep --seeds $(SEEDS) --jobs $(JOBS) --notebooks $(NB)

REFERENCE_PYTHON ?= $(PYTHON)
reference:  ## golden vectors anew (REFERENCE_PYTHON: a Python with tools/reference-requirements.txt)
	$(REFERENCE_PYTHON) -m tools.reference $(NB)

bench:  ## training steps against PyTorch's (with the same REFERENCE_PYTHON): make bench NB=13
	$(REFERENCE_PYTHON) -m tools.benchmark $(NB)

mutants: $(READY)  ## how many small changes of the backward functions the tests notice
	$(BIN)/python -m tools.mutants --jobs $(JOBS) $(NB)

portability: $(READY)  ## the cheapest notebooks of each track with other processors' BLAS kernels
	$(BIN)/python -m tools.portability --jobs $(JOBS)

site: $(READY)  ## the site, from the stored notebooks, into site/_build/html
	$(BIN)/python site/build.py

site-serve: $(READY)  ## the same, then show it: make site-serve (PORT=8000)
	$(BIN)/python site/build.py --serve --port $(or $(PORT),8000)

site-test: $(READY)  ## the site's own tests: its sources, and its pages in Chromium if it is there
	$(BIN)/python -m pytest tests/test_site.py tests/test_browser.py -n $(JOBS) --dist loadscope -rs

lock: $(READY)  ## pin requirements.txt anew from pyproject.toml
	$(PYTHON) -m venv --clear .venv-lock
	.venv-lock/bin/python -m pip install --quiet --disable-pip-version-check uv
	.venv-lock/bin/uv pip compile pyproject.toml --group dev --universal --python-version 3.11 --upgrade \
		--no-header --no-emit-index-url --annotation-style line --quiet --output-file requirements.txt
	rm -rf .venv-lock

clean:  ## remove .venv, the built site and caches; notebooks and scratch texts stay
	rm -rf $(VENV) .pytest_cache .ruff_cache site/_build site/_generated
