PYTHON ?= python3
VENV ?= .venvs/dev
STAMP = $(VENV)/.installed
MINUTES ?= 10

.PHONY: demo test check bench soak generate pyz clean

# The tool in .venv, and its main job against the built-in sandbox: no account is needed.
demo:
	$(PYTHON) -m venv .venv
	.venv/bin/python -m pip install --quiet --disable-pip-version-check .
	.venv/bin/sourcecraft-artifacts sandbox -- .venv/bin/sourcecraft-artifacts \
		download latest --run-status success -d demo-artifacts
	@echo "The artifacts are in demo-artifacts; run 'make demo' again: nothing is fetched twice."

$(STAMP): pyproject.toml
	$(PYTHON) -m venv $(VENV)
	$(VENV)/bin/python -m pip install --quiet --disable-pip-version-check --upgrade 'pip>=25.1'
	$(VENV)/bin/python -m pip install --quiet --group test --group check .
	touch $(STAMP)

# All tests, against the installed wheel and not the source tree, in a folder of their own: what
# other sessions left behind is not ours to clear.
test: $(STAMP)
	$(VENV)/bin/python -m pip install --quiet --no-deps --force-reinstall .
	bash tests/install_servers.sh
	folder=$$(mktemp -d) && trap 'rm -rf "$$folder"' EXIT && \
		$(VENV)/bin/python -P -m pytest --basetemp="$$folder/tests" $(ARGS)

check: $(STAMP)
	$(VENV)/bin/ruff check .
	$(VENV)/bin/ruff format --check .
	$(VENV)/bin/mypy
	$(VENV)/bin/python -m tests.generate --check

# By hand only: ratios against curl and aria2c, and kills at random moments.
bench: $(STAMP)
	$(VENV)/bin/python -m pip install --quiet --no-deps --force-reinstall .
	$(VENV)/bin/python -m tests.benchmarks $(ARGS)

soak: $(STAMP)
	$(VENV)/bin/python -m pip install --quiet --no-deps --force-reinstall .
	PYTHONPATH=tests $(VENV)/bin/python -P tests/soak.py --minutes $(MINUTES)

# What is generated from the program: completions and the man page.
generate: $(STAMP)
	$(VENV)/bin/python -m tests.generate

# Wheels in pure Python alone: compiled modules cannot be imported from a zip file. colorama is
# what the dependencies ask for on Windows only.
pyz: $(STAMP)
	rm -rf build/pyz
	$(VENV)/bin/python -m pip install --quiet --disable-pip-version-check --no-compile \
		--target build/pyz --only-binary :all: --platform any --implementation py --abi none \
		--python-version 3.11 . colorama
	rm -rf build/pyz/bin build/pyz/share
	mkdir -p dist
	$(VENV)/bin/python -m zipapp build/pyz --compress --python '/usr/bin/env python3' \
		--main sourcecraft_artifacts.__main__:main --output dist/sourcecraft-artifacts.pyz
	chmod 755 dist/sourcecraft-artifacts.pyz

clean:
	rm -rf .venv .venvs dist build demo-artifacts .mypy_cache .pytest_cache .ruff_cache .hypothesis
