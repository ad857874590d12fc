# make study   the figures of the paper in small: trains, runs the notebooks, draws
# make test    lint, types, unit tests, and every notebook against its committed outputs
# make site    the notebooks as pages
# Each sets up what it needs in .venv. PYTHON=python3.12 make study picks another Python.

PYTHON ?= python3
PROFILE ?= quick
BIN := .venv/bin
INSTALLED := .venv/installed

# Kernels start in the notebooks' folder, so a folder of data sets is named from the root.
ifdef GVSTUDY_DATA
export GVSTUDY_DATA := $(abspath $(GVSTUDY_DATA))
endif

.PHONY: study test lab notebooks site clean

study: $(INSTALLED)
	$(BIN)/gvstudy study --profile $(PROFILE)

test: $(INSTALLED)
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/python -m pytest --nbval --nbval-current-env --nbval-sanitize-with tests/sanitise.cfg tests notebooks

lab: $(INSTALLED)
	$(BIN)/jupyter lab notebooks

# Runs the notebooks in place, to commit their outputs.
notebooks: $(INSTALLED)
	$(BIN)/jupyter nbconvert --to notebook --execute --inplace \
		--ExecutePreprocessor.record_timing=False \
		--ExecutePreprocessor.store_widget_state=False notebooks/*.ipynb notebooks/solutions/*.ipynb
	$(BIN)/jupyter nbconvert --to notebook --inplace --coalesce-streams \
		notebooks/*.ipynb notebooks/solutions/*.ipynb

# The executed notebooks as pages with navigation, in site/; they open without a network.
site: $(INSTALLED)
	$(BIN)/sphinx-build -b html -nW --keep-going notebooks site
	@rm -rf jupyter_execute
	@echo "open site/00_start_here.html"

clean:
	rm -rf .venv runs results site figures/quick figures/smoke

$(INSTALLED): pyproject.toml constraints.txt
	@$(PYTHON) -c "import sys; sys.exit(sys.version_info < (3, 11))" || \
		{ echo "gvstudy needs Python 3.11 or newer; name one: make PYTHON=python3.12 ..."; exit 2; }
	$(PYTHON) -m venv .venv
	$(BIN)/python -m pip install --constraint constraints.txt --editable ".[notebooks,site,test]"
	touch $@
