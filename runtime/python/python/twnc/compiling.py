"""The command's work as functions: models and arrays in memory or in files, options by the names of the command's.

An option is what `twnc --help` says, with `_` for `-`: ``ternarise="all"``, ``keep=["fc*"]``, ``max_size="15%"``. True gives a flag, a list gives an option
several times, None and False leave it out. ``input_shape`` may be ``{"image": (1, 3, 224, 224)}``, ``dim`` may be ``{"batch": 1}``, and ``outputs`` are the
names of values where the graph is cut.
"""

from __future__ import annotations

import json
import logging
import os
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Union

import numpy

from . import _twnc
from .errors import ModelError
from .report import Comparison, Report
from .session import MAGIC, InferenceSession, SessionOptions

Path = Union[str, "os.PathLike[str]"]
#: A path, bytes, or an ``onnx.ModelProto`` (anything that has ``SerializeToString``).
Model = Union[Path, bytes, bytearray, memoryview, Any]
#: A path to .npz, .npy or a folder; or arrays by the names of inputs, whose first axes count samples.
Data = Union[Path, Mapping[str, Any]]
#: A path, or a class for each sample.
Labels = Union[Path, Sequence[int], numpy.ndarray]
#: Is called with what is done, how many pieces of it are done, and of how many. What it raises ends training at once; other work ends first.
Progress = Callable[[str, int, int], None]

log = logging.getLogger("twnc")


@dataclass(frozen=True)
class Compilation:
    """What a compilation gives."""

    #: The compiled model (or what ``emit`` asked for), if no file was given for it.
    model: bytes | None
    #: The file that it was written to, if one was given.
    path: str | None
    #: What became of each layer; None where ``report`` is a path or None.
    report: Report | None
    #: What the command prints with ``--json``: sizes, ``rounded_layers``, ``repair``.
    summary: dict[str, Any]

    def session(self, sess_options: SessionOptions | None = None) -> InferenceSession:
        """A session that runs the compiled model."""
        return InferenceSession(self.model if self.path is None else self.path, sess_options)


@dataclass(frozen=True)
class Training:
    """What a training gives."""

    #: The trained network as ONNX, if no file was given for it.
    model: bytes | None
    #: The file that it was written to, if one was given.
    path: str | None
    #: What the command prints with ``--json``: ``epochs``, ``loss``, ``validation_right``.
    summary: dict[str, Any]


def compile(
    model: Model,
    output: Path | None = None,
    *,
    calibrate: Data | None = None,
    labels: Labels | None = None,
    report: bool | Path | None = True,
    progress: Progress | None = None,
    **options: Any,
) -> Compilation:
    """Compiles an ONNX model.

    Args:
        model: the model. Data outside of the file are found beside a path only.
        output: the file to write; without it the result has the bytes.
        calibrate: samples without labels, to which layers that become ternary are fitted.
        labels: the classes of these samples, by which ``max_drop`` is measured.
        report: True for `Compilation.report`; a path for a page (``.html``) or JSON there; None for no report.
        progress: is told of work that takes longer.
        options: those of the command.

    Raises:
        ModelError: the model or a file is not acceptable; the message lists every operator that is not supported.
        OptionError: an option that there is not, or options that do not fit together.
        LimitError: a limit was hit.
    """
    call = _Call(progress)
    arguments = [call.model(model)]
    if calibrate is not None:
        arguments.append("--calibrate=" + call.data("calibrate", calibrate))
    if labels is not None:
        arguments.append("--labels=" + call.labels("labels", labels))
    if isinstance(report, (str, os.PathLike)):
        arguments.append("--report=" + os.fspath(report))
    elif report:
        arguments.append("--report=" + call.place("report.json"))
    target = call.place("model.bin") if output is None else _path(output)
    said = call.execute([*arguments, "-o", target, *_words(options)])
    made, found = call.made("model.bin"), call.made("report.json")
    path = None if output is None else os.fspath(output)
    return Compilation(made, path, Report.of(json.loads(found)) if found else None, json.loads(said or "{}"))


def calibrate(model: Model, data: Data, output: Path | None = None, **options: Any) -> Compilation:
    """Compiles an ONNX model whose layers are fitted to what the float network computes on samples: `compile` with ``calibrate=data``.

    Args:
        model: the model.
        data: some hundred samples without labels.
        output: the file to write; without it the result has the bytes.
        options: those of `compile`, such as ``max_size="15%"``, ``max_drop=1``, ``fine_tune=200``, ``labels``.

    Raises:
        TwncError: as for `compile`.
    """
    return compile(model, output, calibrate=data, **options)


def train(
    model: Model,
    data: Data,
    labels: Labels | None = None,
    output: Path | None = None,
    *,
    validation: Data | None = None,
    validation_labels: Labels | None = None,
    progress: Progress | None = None,
    **options: Any,
) -> Training:
    """Trains a network whose weights are ternary in every step.

    Args:
        model: the ONNX model; its weights are where training begins.
        data: the samples.
        labels: the class of each; without them the network is trained to give what the float network gives.
        output: the ONNX file to write; without it the result has the bytes.
        validation: samples on which the network is measured after each epoch.
        validation_labels: their classes.
        progress: is told of every step; what it raises ends the training.
        options: those of ``twnc train``, such as ``epochs=12``, ``method="ttq"``, ``checkpoint="FILE"``.

    Raises:
        ModelError: the network cannot be trained, or the samples do not fit it.
        OptionError, LimitError: as for `compile`.
    """
    call = _Call(progress)
    arguments = ["train", call.model(model), "--data=" + call.data("data", data)]
    if labels is not None:
        arguments.append("--labels=" + call.labels("labels", labels))
    if validation is not None:
        arguments.append("--validation=" + call.data("validation", validation))
    if validation_labels is not None:
        arguments.append("--validation-labels=" + call.labels("validation_labels", validation_labels))
    target = call.place("trained.onnx") if output is None else _path(output)
    said = call.execute([*arguments, "-o", target, *_words(options)])
    path = None if output is None else os.fspath(output)
    return Training(call.made("trained.onnx"), path, json.loads(said or "{}"))


def inspect(model: Model, **options: Any) -> Report:
    """The layers of a compiled model, or of an ONNX model as it would be compiled with these options.

    Raises:
        TwncError: as for `compile`.
    """
    call = _Call(None)
    return Report.of(json.loads(call.execute(["inspect", call.model(model), *_words(options)])))


def compare(
    model: Model,
    compiled: Model,
    data: Data,
    labels: Labels | None = None,
    *,
    progress: Progress | None = None,
    **options: Any,
) -> Comparison:
    """Runs a compiled model and the float network that it came from on data, and says how they differ.

    Args:
        model: the float network, as ONNX.
        compiled: the compiled model.
        data: the inputs.
        labels: the right class of each sample.
        progress: is told how many samples were compared.
        options: those of ``twnc compare``, such as ``min_agreement=0.99``, ``threads=2``.

    Raises:
        ComparisonError: agreement is below ``min_agreement``.
        TwncError: as for `compile`.
    """
    call = _Call(progress)
    arguments = ["compare", call.model(model), call.model(compiled), "--data=" + call.data("data", data)]
    if labels is not None:
        arguments.append("--labels=" + call.labels("labels", labels))
    return Comparison.of(json.loads(call.execute([*arguments, *_words(options)])))


class _Call:
    """A command line, with what names in it stand for."""

    def __init__(self, progress: Progress | None) -> None:
        self._given: dict[str, Any] = {}
        self._results: dict[str, bytes | None] = {}
        self._progress = progress

    def model(self, model: Model) -> str:
        """A model by its path, or a name that stands for its bytes."""
        if isinstance(model, (str, os.PathLike)):
            return _path(model)
        if hasattr(model, "SerializeToString"):
            model = model.SerializeToString()
        if not isinstance(model, (bytes, bytearray, memoryview)):
            raise ModelError(f"a {type(model).__name__} is no model; give a path, bytes or an onnx.ModelProto")
        content = bytes(model)
        return self._name("compiled.bin" if content.startswith(MAGIC) else "model.onnx", content)

    def data(self, name: str, data: Data) -> str:
        """Samples by their path, or a name that stands for the arrays."""
        if isinstance(data, (str, os.PathLike)):
            return os.fspath(data)
        # By its ending, `train` knows arrays by name.
        return self._name(name + ".npz", {key: _array(value) for key, value in data.items()})

    def labels(self, name: str, labels: Labels) -> str:
        """Classes by their path, or a name that stands for the array."""
        if isinstance(labels, (str, os.PathLike)):
            return os.fspath(labels)
        return self._name(name + ".npy", _array(labels))

    def place(self, name: str) -> str:
        """A name for a result."""
        self._results[name] = None
        return self._name(name, b"")

    def made(self, name: str) -> bytes | None:
        """The result under a name, if it was asked for."""
        return self._results.get(name)

    def execute(self, arguments: list[str]) -> str:
        """Does it; gives what the command prints."""
        names = list(self._results)
        said, results = _twnc.execute(
            ["twnc", *arguments, "--json"], self._given, [_MEMORY + name for name in names], self._hear
        )
        self._results = dict(zip(names, results))
        return said

    def _name(self, name: str, content: Any) -> str:
        self._given[_MEMORY + name] = content
        return _MEMORY + name

    def _hear(self, kind: str, what: Any) -> None:
        if kind == "warning":
            log.warning("%s", what)
        elif kind == "note":
            log.info("%s", what)
        elif self._progress is not None:
            self._progress(*what)


#: What the names of things in memory begin with, in messages too.
_MEMORY = "<memory>/"


def _path(path: Path) -> str:
    """A path as a word of a command line that is neither an option nor a subcommand."""
    path = os.fsdecode(path)
    return path if os.path.dirname(path) else os.path.join(os.curdir, path)


def _array(value: Any) -> numpy.ndarray:
    """An array of a type that the compiler knows, as it reads files: floats of other widths become float32."""
    array = numpy.asarray(value)
    return array.astype(numpy.float32) if array.dtype.kind == "f" and array.dtype != numpy.float32 else array


def _words(options: Mapping[str, Any]) -> Iterator[str]:
    """Options as words of a command line."""
    for name, value in options.items():
        flag = "--" + ("output" if name == "outputs" else name.replace("_", "-"))
        if value is None or value is False:
            continue
        if value is True:
            yield flag
        elif name == "input_shape" and isinstance(value, Mapping):
            for key, shape in value.items():
                yield f"{flag}={key}:{_shape(shape)}"
        elif name == "input_shape":
            yield f"{flag}={_shape(value)}"
        elif isinstance(value, Mapping):
            yield from (f"{flag}={key}={entry}" for key, entry in value.items())
        elif isinstance(value, (list, tuple)):
            yield from (f"{flag}={os.fspath(v) if isinstance(v, os.PathLike) else v}" for v in value)
        else:
            yield f"{flag}={os.fspath(value) if isinstance(value, os.PathLike) else value}"


def _shape(shape: Any) -> str:
    return shape if isinstance(shape, str) else "x".join(map(str, shape))
