# Each target works on a fresh clone with Python >= 3.11, make and the network; .venv is made when it is needed.

PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
PAIRS ?= 104

.PHONY: paper test check clean

paper: $(VENV)/.ready
	$(BIN)/bench run suites/paper.toml --pairs $(PAIRS)

test: $(VENV)/.ready
	$(BIN)/python -m pytest

check: $(VENV)/.ready
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy

$(VENV)/.ready: pyproject.toml constraints.txt
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --upgrade pip
	$(BIN)/python -m pip install --quiet --constraint constraints.txt --editable '.[test,check]'
	touch $@

clean:
	rm -rf $(VENV) results reports/*/index.html
