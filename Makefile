# make study   the paper's figures, scaled down: trains, runs the notebooks, draws
# make check   lint, types, imports and the fast tests, in a minute and a half
# make test    all tests, and every notebook against its committed outputs
# make site    the notebooks as pages
# make lab     JupyterLab; make notebooks executes all notebooks in place
# make clean   removes .venv, results, site, new figures, and all finished trainings (runs)
# Each command installs what it needs into .venv. To choose a Python: make study PYTHON=python3.12
# PyTorch's build is TORCH=cpu, or TORCH=cuda where nvidia-smi shows a card. A choice is kept.

PYTHON ?= python3
PROFILE ?= quick
# Notebooks at a time, which share the cores.
WORKERS ?= 2
BIN := .venv/bin
INSTALLED := .venv/installed
# The file holds the build of PyTorch that was asked for last.
LAST := $(shell cat $(INSTALLED) 2>/dev/null)
TORCH ?= $(or $(LAST),$(if $(shell nvidia-smi -L 2>/dev/null),cuda,cpu))

# Kernels start in the notebooks' folder, so a relative folder of data sets would not be found.
# Its name may hold spaces, at which abspath would split it.
ifdef GVSTUDY_DATA
export GVSTUDY_DATA := $(if $(filter /%,$(firstword $(GVSTUDY_DATA))),,$(CURDIR)/)$(GVSTUDY_DATA)
endif

.PHONY: study check lint fast-tests test lab notebooks site clean another-build

study: $(INSTALLED)
	$(BIN)/gvstudy study --profile $(PROFILE) --workers $(WORKERS)

# Side by side, because mypy takes as long as the tests when it has no cache yet.
check: $(INSTALLED)
	@$(MAKE) --jobs 2 lint fast-tests

lint: $(INSTALLED)
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/lint-imports

# With one thread: the models are tiny, and a second thread would mostly wait.
fast-tests: $(INSTALLED)
	OMP_NUM_THREADS=1 $(BIN)/python -m pytest -m "not slow" tests

# Side by side, one thread each: two trainings are faster that way than one after another.
test: lint
	OMP_NUM_THREADS=1 $(BIN)/python -m pytest --numprocesses 2 --dist loadfile tests
	OMP_NUM_THREADS=1 $(BIN)/python -m pytest -p tests.conftest --numprocesses 2 --dist loadfile \
		--nbval --nbval-current-env --nbval-sanitize-with tests/sanitise.cfg \
		--nbval-cell-timeout 4500 notebooks

lab: $(INSTALLED)
	$(BIN)/jupyter lab notebooks

# Runs the notebooks in place, so that their outputs can be committed.
notebooks: $(INSTALLED)
	$(BIN)/jupyter nbconvert --to notebook --execute --inplace \
		--ExecutePreprocessor.record_timing=False \
		--ExecutePreprocessor.store_widget_state=False notebooks/*.ipynb notebooks/solutions/*.ipynb
	$(BIN)/jupyter nbconvert --to notebook --inplace --coalesce-streams \
		notebooks/*.ipynb notebooks/solutions/*.ipynb

# The executed notebooks as pages with navigation, in site/; they can be read offline.
site: $(INSTALLED)
	$(BIN)/sphinx-build -b html -nW --keep-going notebooks site
	@rm -rf jupyter_execute
	@echo "open site/00_start_here.html"

clean:
	rm -rf .venv runs results site
	find figures -mindepth 1 -maxdepth 1 ! -name reference -exec rm -rf {} +

$(INSTALLED): pyproject.toml constraints.txt $(if $(filter-out $(LAST),$(TORCH)),another-build)
	@$(PYTHON) -c "import sys; sys.exit(sys.version_info < (3, 11))" || \
		{ echo "gvstudy needs Python 3.11 or newer: make ... PYTHON=python3.12"; exit 2; }
	$(PYTHON) -m venv .venv
	@$(BIN)/python install_torch.py $(TORCH)
	$(BIN)/python -m pip install --constraint constraints.txt --editable ".[notebooks,site,test]"
	@echo $(TORCH) > $@
