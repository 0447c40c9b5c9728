PYTHON ?= python3
VENV ?= .venvs/dev
STAMP = $(VENV)/.installed
MINUTES ?= 10

.PHONY: demo test oldest newest check bench soak generate pyz lock release clean

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
		$(VENV)/bin/python -P -m pytest -n 2 --dist worksteal --basetemp="$$folder/tests" $(ARGS)

# The tests with the oldest dependencies that the ranges of pyproject.toml allow, and with the newest
# there are, whatever the ranges say: where one of them fails, a range is to be moved.
oldest newest:
	$(PYTHON) -m venv .venvs/$@
	.venvs/$@/bin/python -m pip install --quiet --disable-pip-version-check --upgrade 'pip>=25.1'
	.venvs/$@/bin/python -m pip install --quiet --group test .
	.venvs/$@/bin/python -m pip install --quiet --upgrade $$(.venvs/$@/bin/python tests/bounds.py $@)
	.venvs/$@/bin/python -m pip install --quiet --no-deps --force-reinstall .
	.venvs/$@/bin/python -P -m pytest $(ARGS)

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

# One file with all dependencies. It needs an environment of its own with pip in it, and no more.
pyz:
	$(PYTHON) -m venv .venvs/pyz
	.venvs/pyz/bin/python tests/pyz.py

# The versions that go into it: the newest that the ranges of pyproject.toml allow.
lock:
	$(PYTHON) -m venv .venvs/pyz
	.venvs/pyz/bin/python tests/pyz.py --lock

# Wheel, sdist, the one file and SHA256SUMS, built from the commit that is checked out, and checked.
release:
	$(PYTHON) -m venv .venvs/release
	.venvs/release/bin/python -m pip install --quiet --disable-pip-version-check --upgrade 'pip>=25.1'
	.venvs/release/bin/python -m pip install --quiet --group release
	.venvs/release/bin/python tests/release.py

clean:
	rm -rf .venv .venvs dist build demo-artifacts .mypy_cache .pytest_cache .ruff_cache .hypothesis
