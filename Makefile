PYTHON ?= python3
VENV ?= .venvs/dev
STAMP = $(VENV)/.installed

.PHONY: test check clean

$(STAMP): pyproject.toml
	$(PYTHON) -m venv $(VENV)
	$(VENV)/bin/python -m pip install --quiet --disable-pip-version-check --upgrade 'pip>=25.1'
	$(VENV)/bin/python -m pip install --quiet --group test --group check .
	touch $(STAMP)

test: $(STAMP)
	$(VENV)/bin/python -m pip install --quiet --no-deps --force-reinstall .
	$(VENV)/bin/python -P -m pytest $(ARGS)

check: $(STAMP)
	$(VENV)/bin/ruff check .
	$(VENV)/bin/ruff format --check .
	$(VENV)/bin/mypy

clean:
	rm -rf .venvs dist build .mypy_cache .pytest_cache .ruff_cache .hypothesis
