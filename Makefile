# Everything a developer does, by name. `make` alone lists it.
PYTHON ?= $(if $(wildcard .venv/bin/python),.venv/bin/python,python3)

.DEFAULT_GOAL := help
.PHONY: help venv viewer test lint types docs html check bench bench-library conformance

help:  ## List these targets
	@sed -n 's/^\([a-z-]*\):.*## \(.*\)/  \1\t\2/p' $(MAKEFILE_LIST) | expand -t 16

venv:  ## Make .venv with everything that development needs
	python3 -m venv .venv
	.venv/bin/pip install torch==2.13.0 -e '.[dev]'

viewer:  ## Fetch the viewer of `medimg view` (needs npm; building medimg does it, too)
	$(PYTHON) hatch_build.py

test:  ## Run the test suite (slow tests: make test ARGS="-m slow")
	$(PYTHON) -m pytest -q $(ARGS)

lint:  ## Check style and formatting of the code
	$(PYTHON) -m ruff check .
	$(PYTHON) -m ruff format --check --quiet .

types:  ## Check types
	$(PYTHON) -m mypy

docs:  ## Write man pages, completions, the README's command table and the pictures in docs anew
	$(PYTHON) scripts/generate_docs.py
	$(PYTHON) scripts/make_pictures.py

html:  ## Build the documentation into docs/_build
	$(PYTHON) -m sphinx -W --keep-going -q docs docs/_build

check: lint types  ## Do all that .ci/run does, in the environment at hand
	$(PYTHON) scripts/generate_docs.py --check
	$(PYTHON) -m pytest -q

bench:  ## Measure speed and memory against other tools
	$(PYTHON) benchmarks/bench.py

bench-library:  ## Measure regions, resampling and the web inside one process
	$(PYTHON) benchmarks/library.py

conformance:  ## Compare with independent readers on real files
	$(PYTHON) scripts/conformance.py
