"""How a command ends: its exit status, and one line where something went wrong."""

from __future__ import annotations

import os
import re
import signal
from argparse import ArgumentError
from types import TracebackType

from lightning.fabric.utilities.exceptions import MisconfigurationException
from lightning.pytorch.utilities.exceptions import SIGTERMException

from equireann_pyg.simulation.stopping import Stopped
from equireann_pyg.wording import one_line


class Ending:
    """Context in which a command runs; no exception leaves it, unless the environment has ``EQUIREANN_TRACEBACK=1``.

    Attributes:
        status: exit status of the command.
        message: what to print, if anything.
    """

    status = 0
    message = ""

    def __enter__(self) -> Ending:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> bool:
        if error is None:
            return True
        cause = error.__context__ if isinstance(error, SystemExit) else error
        if isinstance(error, Stopped):  # what it was doing has been saved
            self.status, self.message = 128 + error.number, str(error)
        elif isinstance(error, SIGTERMException):
            self.status, self.message = 128 + signal.SIGTERM, "stopped by SIGTERM"
        elif isinstance(cause, KeyboardInterrupt):  # Lightning saves, then exits with 1
            self.status, self.message = 128 + signal.SIGINT, "stopped by SIGINT"
        elif isinstance(error, SystemExit):  # the parser has said why
            self.status = error.code if isinstance(error.code, int) else int(error.code is not None)
        elif os.environ.get("EQUIREANN_TRACEBACK") == "1":
            return False
        else:
            self.status, self.message = 2, f"error: {_named(error)}"
        return True


def _named(error: BaseException) -> str:
    """The message in one line, with the kind of error where it does not speak for itself."""
    text = one_line(error)
    if isinstance(error, ArgumentError):
        text = re.sub(r"Does not validate against any of the Union subtypes Subtypes: .*? Errors: - ", "", text)
        text = re.sub(r" - Expected a <class 'NoneType'>.*| Given value type: .*", "", text)
        return f"{text} (--help lists the options)"
    plain = isinstance(error, (ValueError, OSError, MisconfigurationException)) and not isinstance(error, UnicodeError)
    return text if plain and text else f"{type(error).__name__}: {text} (EQUIREANN_TRACEBACK=1 shows where)"
