"""`python -m sourcecraft_artifacts` is the same program as `sourcecraft-artifacts`."""

from .cli import main

main()
