# Each target works on a fresh clone with Python >= 3.11, make and the network; .venv is made when it is needed.
# WORKERS=4 runs the tests in that many processes at once.
# PAIRS=32 runs every experiment of the paper on that many verification pairs instead of the suite's numbers.

PYTHON ?= python3
WORKERS ?= 2
VENV := .venv
BIN := $(VENV)/bin
PYTEST = $(BIN)/python -m pytest --numprocesses $(WORKERS) --durations 10

.PHONY: paper example leaderboard tuning reference controls test quick faults statistics bench check docs clean

paper: $(VENV)/.ready
	$(BIN)/bench run suites/paper.toml $(if $(PAIRS),--pairs $(PAIRS))

# What the repository shows: the report of the paper's suite, and pictures of it for the README.
example: paper $(VENV)/.ready-for-tests
	cp reports/paper/index.html reports/example/index.html
	$(BIN)/python docs/images/make.py reports/example/index.html

# The leaderboard that the repository shows: all defenses under the standard suite (docs/design/zoo.md).
leaderboard: $(VENV)/.ready
	$(BIN)/bench run zoo-standard --no-report
	$(BIN)/bench site zoo-standard -o reports/leaderboard

# The settings for the bundled networks, chosen on people whom no other suite shows: the tables of docs/design/pmt-defaults.md,
# recface.md and inversion.md. About 10 minutes of 2 cores.
tuning: $(VENV)/.ready
	$(BIN)/bench run suites/tuning-pmt.toml
	$(BIN)/bench run suites/tuning-recface.toml
	$(BIN)/bench run suites/tuning-inversion.toml
	$(BIN)/python docs/design/tuning.py

# The rows of the shipped defenses under the standard suite, which travel with bench: bench/reference.
reference: $(VENV)/.ready
	$(BIN)/python benchmarks/reference.py

# How often the whole standard suite calls a picture that shows nothing of the face leaking, over 20 seeds: the table of
# docs/design/standard.md. SMALL=1 only tries it, in a few minutes.
controls: $(VENV)/.ready
	$(BIN)/python benchmarks/controls.py $(if $(SMALL),--small)

test: $(VENV)/.ready-for-tests
	$(PYTEST)

# The tests that need no training, browser, Ray or faults.
quick: $(VENV)/.ready-for-tests
	$(PYTEST) --ignore tests/e2e --ignore tests/faults -m "not slow and not browser"

faults: $(VENV)/.ready-for-tests
	BENCH_FAULTS=full $(PYTEST) tests/faults tests/security

# In simulations: how often the intervals contain the true value, how often the verdict and bench diff raise a false
# alarm, and which differences they see. About an hour and a half of one core.
statistics: $(VENV)/.ready
	$(BIN)/python benchmarks/inference.py

# Speed next to what a user would take instead, within 20 minutes of 2 cores: benchmarks/RESULTS.md and results.parquet.
# BENCH_REAL=FOLDER also uses the real network weights/mobilefacenet-112x96.ckpt in that folder.
bench: $(VENV)/.ready-for-benchmarks
	OMP_NUM_THREADS=1 $(BIN)/python benchmarks/run.py

# The documentation as a site that is read from the disk: site/index.html. A warning, such as a broken link, is an error.
docs: $(VENV)/.ready-for-docs
	$(BIN)/python -m sphinx --quiet --fail-on-warning --keep-going --conf-dir docs/_site docs site
	@echo site/index.html

check: $(VENV)/.ready-for-tests
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy

$(VENV)/.ready: pyproject.toml constraints.txt
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --upgrade pip
	$(BIN)/python -m pip install --quiet --constraint constraints.txt --editable .
	touch $@

$(VENV)/.ready-for-tests: $(VENV)/.ready
	$(BIN)/python -m pip install --quiet --constraint constraints.txt --editable '.[test,check]'
	$(BIN)/python -m pip install --quiet --constraint constraints.txt --no-deps uniface  # see docs/design/dependencies.md
	@if ! { command -v chromium || command -v chromium-browser || command -v google-chrome; } >/dev/null; then \
	    { [ "$$(id -u)" = 0 ] && apt-get update -qq && apt-get install -y -qq chromium; } >/dev/null \
	    || echo "no Chromium: the tests of the report in a browser are skipped (Debian: sudo apt-get install chromium)"; \
	fi
	touch $@

$(VENV)/.ready-for-docs: $(VENV)/.ready
	$(BIN)/python -m pip install --quiet --constraint constraints.txt --editable '.[docs]'
	touch $@

$(VENV)/.ready-for-benchmarks: $(VENV)/.ready
	$(BIN)/python -m pip install --quiet --constraint constraints.txt --editable '.[benchmarks]'
	$(BIN)/python -m pip install --quiet --constraint constraints.txt --no-deps torchattacks  # see docs/design/dependencies.md
	touch $@

clean:
	rm -rf $(VENV) results site test-artifacts
	find reports -mindepth 1 -maxdepth 1 -type d ! -name example ! -name leaderboard -exec rm -rf {} +
