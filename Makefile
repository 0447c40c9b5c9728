PYTHON ?= python3
VENV ?= .venvs/dev
STAMP = $(VENV)/.installed
MINUTES ?= 10

.PHONY: demo test oldest newest check bench soak generate pyz lock release clean

# Installs the tool in .venv and downloads from the built-in sandbox; no account is needed.
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

# Tests the installed wheel, not the source tree, in a temporary folder of its own: in memory, where
# no test waits for the disk. What pytest makes of the tests' sources is kept for the next time. Three
# processes keep two cores busy, as some tests wait for a clock.
test: $(STAMP)
	$(VENV)/bin/python -m pip install --quiet --no-deps --force-reinstall .
	bash tests/install_servers.sh
	folder=$$(TMPDIR=$$(bash tests/roomy.sh) mktemp -d) && trap 'rm -rf "$$folder"' EXIT && \
		TMPDIR="$$folder" PYTHONDONTWRITEBYTECODE= \
		$(VENV)/bin/python -P -m pytest -n 3 --dist worksteal --basetemp="$$folder/tests" $(ARGS)

# Tests with the oldest dependencies that pyproject.toml allows, and with the newest that exist. If
# they fail, change the range.
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

# By hand only: a comparison with curl and aria2c, and kills at random moments.
bench: $(STAMP)
	$(VENV)/bin/python -m pip install --quiet --no-deps --force-reinstall .
	$(VENV)/bin/python -m tests.benchmarks $(ARGS)

soak: $(STAMP)
	$(VENV)/bin/python -m pip install --quiet --no-deps --force-reinstall .
	PYTHONPATH=tests $(VENV)/bin/python -P tests/soak.py --minutes $(MINUTES)

# Generates the completions and the man page from the program.
generate: $(STAMP)
	$(VENV)/bin/python -m tests.generate

# Builds one file with all dependencies, in an environment that has nothing but pip.
pyz:
	$(PYTHON) -m venv .venvs/pyz
	.venvs/pyz/bin/python tests/pyz.py

# Locks the dependencies of that file to the newest versions that pyproject.toml allows.
lock:
	$(PYTHON) -m venv .venvs/pyz
	.venvs/pyz/bin/python tests/pyz.py --lock

# Builds and checks wheel, sdist, the one file and SHA256SUMS from the commit that is checked out.
release:
	$(PYTHON) -m venv .venvs/release
	.venvs/release/bin/python -m pip install --quiet --disable-pip-version-check --upgrade 'pip>=25.1'
	.venvs/release/bin/python -m pip install --quiet --group release
	.venvs/release/bin/python tests/release.py

clean:
	rm -rf .venv .venvs dist build demo-artifacts .mypy_cache .pytest_cache .ruff_cache .hypothesis
