"""What `air infer` prints: records as they come, and the pictures that cannot be read."""

from __future__ import annotations

import io
import logging
import sys
from collections.abc import Iterable, Sequence

from ..errors import DataError
from ..files.records import Record, to_json, to_text, write_csv

logger = logging.getLogger(__name__)


class Tally:
    """Counts pictures, and tells of each that cannot be read; if that is all, as an error."""

    def __init__(self, strict: bool, num: int = 0, num_failed: int = 0) -> None:
        """Go on from ``num`` pictures, of which ``num_failed`` could not be read."""
        self.strict, self.num, self.num_failed = strict, num, num_failed
        self._untold: str | None = None  # the first line: alone, it is the error itself

    def add(self, records: Sequence[Record]) -> None:
        """Count records; raise a DataError at the first failure if strict."""
        for record in records:
            self.num += 1
            reason = record.get("error")
            if reason is not None and self.strict:
                raise DataError(reason)
            self._tell(self._untold)
            self._untold = None
            if reason is None:
                continue
            self.num_failed += 1
            if self.num == 1:
                self._untold = reason
            else:
                self._tell(reason)

    def check(self) -> None:
        """Raise a DataError if there was nothing that could be read."""
        if not self.num:
            raise DataError("no pictures; name files, folders or patterns that hold some.")
        if self._untold is not None:
            raise DataError(self._untold)
        if self.num == self.num_failed:
            raise DataError(f"none of {self.num} pictures can be read.")

    def _tell(self, reason: str | None) -> None:
        if reason is not None:
            logger.warning("Skipped %s", reason)


class Echo:
    """Prints records as they come; to a terminal, as lines for people.

    COCO is not printed here: it is made of all records at the end. If there is one picture alone
    and it cannot be read, no record is printed, since the command ends with an error about it.
    """

    def __init__(self, form: str | None, sampled: bool) -> None:
        """Print records in a form, or in the one that standard output asks for if None.

        Args:
            form: ``json``, ``csv`` or ``coco``.
            sampled: whether the records have what importance samples tell.
        """
        terminal = sys.stdout is not None and sys.stdout.isatty()
        self._form = form or ("text" if terminal else "json")
        self._sampled = sampled
        # Lines for people go above a bar; all else to where it was sent, whatever a bar does.
        self._file = None if self._form == "text" else sys.stdout
        self.in_the_way = terminal and self._form in ("json", "csv")
        """Whether what is printed and a bar would disturb each other."""
        self._held: list[Record] = []
        self._begun = False

    def write(self, records: Iterable[Record]) -> None:
        """Print records; a failure is held back until a second record comes."""
        self._held += records
        if not self._begun and len(self._held) == 1 and "error" in self._held[0]:
            return
        file = self._file or sys.stdout
        if file is not None:  # standard output may be closed
            file.write(self._text())
            file.flush()
        self._begun = self._begun or bool(self._held)
        self._held.clear()

    def _text(self) -> str:
        if self._form == "json":
            return "".join(f"{to_json(record)}\n" for record in self._held)
        if self._form == "text":  # failures are told by the tally
            return "".join(f"{to_text(record)}\n" for record in self._held if "error" not in record)
        if self._form == "coco" or not self._held:
            return ""
        text = io.StringIO()
        write_csv(self._held, text, self._sampled)
        lines = text.getvalue().split("\n", self._begun)[-1]  # the header once
        # Standard output takes no bytes that are no text; a file of --out does.
        return lines.encode("utf-8", "surrogateescape").decode("utf-8", "replace")
