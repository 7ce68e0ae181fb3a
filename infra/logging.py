"""Structured logs on standard error: one JSON object a line, or coloured text on a terminal."""

import logging
import sys

import structlog

from infra.settings import LogSettings


def configure_logging(settings: LogSettings, **context: str) -> None:
    """Set up structlog, and the standard library's loggers through it.

    Parameters
    ----------
    settings
        Level and form.
    context
        Bound to every line, e.g. ``network_id``.
    """
    level = logging.getLevelNamesMapping()[settings.level.upper()]
    console = settings.form == "console" or (settings.form == "auto" and sys.stderr.isatty())
    shared: list[structlog.types.Processor] = [
        structlog.contextvars.merge_contextvars,
        structlog.stdlib.add_log_level,
        structlog.processors.TimeStamper(fmt="iso", utc=True),
    ]
    last: structlog.types.Processor
    last = structlog.dev.ConsoleRenderer() if console else structlog.processors.JSONRenderer(sort_keys=True)
    if not console:
        shared.append(structlog.processors.format_exc_info)
    structlog.configure(
        processors=[*shared, last],
        wrapper_class=structlog.make_filtering_bound_logger(level),
        logger_factory=structlog.PrintLoggerFactory(sys.stderr),
        cache_logger_on_first_use=True,
    )
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(structlog.stdlib.ProcessorFormatter(processor=last, foreign_pre_chain=shared))
    logging.basicConfig(level=max(level, logging.WARNING), handlers=[handler], force=True)
    structlog.contextvars.bind_contextvars(**context)
