"""What can go wrong. One class for each kind of error of the compiler and the runtime, and `TwncError` for all."""

from __future__ import annotations

__all__ = [
    "TwncError",
    "BackendError",
    "ComparisonError",
    "ElementError",
    "InputError",
    "InputShapeError",
    "InterruptionError",
    "LimitError",
    "MissingInputError",
    "ModelError",
    "OptionError",
    "OutputError",
    "OutputShapeError",
    "RunError",
    "UnknownInputError",
]


class TwncError(Exception):
    """Any error of this package.

    Attributes:
        message: what happened, with the name of the thing.
        file: the file it happened with, if there is one.
        node: the node or layer it happened at, if there is one.
        help: what to do, where more is known than the message says.
    """

    def __init__(
        self,
        message: str = "",
        *,
        file: str | None = None,
        node: str | None = None,
        help: str | None = None,
    ) -> None:
        super().__init__(message)
        self.message = message
        self.file = file
        self.node = node
        self.help = help

    def __str__(self) -> str:
        return f"{self.message} (help: {self.help})" if self.help else self.message

    def __reduce__(self):  # exceptions with keywords do not pickle by themselves
        return _restored, (type(self), self.message, self.file, self.node, self.help)


def _restored(kind: type[TwncError], message: str, file: str, node: str, help: str) -> TwncError:
    return kind(message, file=file, node=node, help=help)


class ModelError(TwncError, ValueError):
    """A model or another file is not acceptable; every operator that is not supported is listed at once."""


class OptionError(TwncError, ValueError):
    """An option that there is not, or options that do not fit together."""


class LimitError(TwncError, MemoryError):
    """A limit of size or memory was hit, or there is no memory."""


class ComparisonError(TwncError, ArithmeticError):
    """A comparison did not hold (`min_agreement`)."""


class InterruptionError(TwncError):
    """Training was told to stop."""


class InputError(TwncError, ValueError):
    """The inputs do not fit the model."""


class UnknownInputError(InputError):
    """An input has a name that the model does not know."""


class MissingInputError(InputError):
    """An input is missing, or is there twice."""


class InputShapeError(InputError):
    """An input has a shape that the model does not take."""


class ElementError(InputError, TypeError):
    """An array has another type of elements than the model declares."""


class OutputError(TwncError, ValueError):
    """An output that there is not, or no array, or none that can be written, for one."""


class OutputShapeError(OutputError):
    """An array for an output has another shape than the output."""


class BackendError(TwncError, RuntimeError):
    """A path of execution that is not available here, or threads that cannot be started."""


class RunError(TwncError, RuntimeError):
    """A step cannot be computed for these elements."""
