"""The package's loggers, below `sourcecraft_artifacts`; they remove secrets.

They show nothing until a program adds a handler, as the command line does. Levels: DEBUG for
requests, retries and decisions, INFO for notices, WARNING for requested artifacts that are
unavailable.
"""

import logging

from .text import visible, without_secrets

PACKAGE = __name__.partition(".")[0]


class RedactingFilter(logging.Filter):
    """Formats records, and redacts known secrets and the queries of URLs."""

    def __init__(self) -> None:
        super().__init__()
        self._secrets: set[str] = set()

    def hide(self, secret: str) -> None:
        """Redact a secret from now on; one of fewer than four characters could be part of words."""
        if len(secret) >= 4:
            self._secrets.add(secret)

    def redacted(self, text: str) -> str:
        """Return a text without secrets."""
        return without_secrets(text, sorted(self._secrets))

    def filter(self, record: logging.LogRecord) -> bool:
        """Let every record pass, redacted."""
        record.msg = visible(self.redacted(record.getMessage()))
        record.args = None
        return True


redaction = RedactingFilter()
logging.getLogger(PACKAGE).addHandler(logging.NullHandler())


def get_logger(name: str) -> logging.Logger:
    """Return a module's logger, which redacts."""
    logger = logging.getLogger(name)
    logger.addFilter(redaction)
    return logger
