"""What a person sees of a command on the terminal: bars of progress, and what the package logs."""

from __future__ import annotations

import logging
import sys
from collections.abc import Callable, Iterable, Iterator
from typing import TypeVar

from rich.console import Console
from rich.progress import (
    BarColumn,
    MofNCompleteColumn,
    Progress,
    SpinnerColumn,
    TextColumn,
    TimeRemainingColumn,
)

Item = TypeVar("Item")

MIN_ITEMS = 200
"""Number of items from which on they are shown with a bar."""

logger = logging.getLogger(__package__)


def progress_bar(
    items: Iterable[Item],
    total: int | None,
    verb: str,
    weigh: Callable[[Item], int] = lambda item: 1,
    completed: int = 0,
) -> Iterator[Item]:
    """Yield items under a bar with their number and the time left, on a terminal.

    Args:
        items: what is yielded.
        total: how many there are; None if it is not known.
        verb: what is being done.
        weigh: how many of the total an item stands for.
        completed: how many are done already.
    """
    console = Console(stderr=True, highlight=False)
    hidden = not console.is_terminal or not logger.isEnabledFor(logging.INFO)
    bar = Progress(
        spinner(),
        TextColumn(verb),
        BarColumn(bar_width=None),
        MofNCompleteColumn(),
        TimeRemainingColumn(elapsed_when_finished=True),
        console=console,
        disable=hidden or (total is not None and total < MIN_ITEMS),
    )
    task = bar.add_task(verb, total=total, completed=completed)
    with bar:
        for item in items:
            yield item
            bar.advance(task, weigh(item))


def show_log(quiet: bool = False) -> None:
    """Show what the package logs, as plain lines on standard error: warnings alone if quiet."""
    if not logger.handlers:
        logger.addHandler(_StandardError())
    logger.setLevel(logging.WARNING if quiet else logging.INFO)


class _StandardError(logging.Handler):
    """Writes to what standard error is at the time: a bar may stand in for it."""

    def emit(self, record: logging.LogRecord) -> None:
        print(record.getMessage(), file=sys.stderr)


def spinner() -> SpinnerColumn:
    """Return a spinner of characters that standard error can show."""
    encoding = str(getattr(sys.stderr, "encoding", "")).lower()
    return SpinnerColumn("dots" if encoding.startswith("utf") else "line")
