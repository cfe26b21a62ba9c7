"""Sessions, with the names and the behaviour of onnxruntime's."""

from __future__ import annotations

import enum
import os
import warnings
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Union

import numpy

from . import _twnc
from .errors import ModelError, OptionError, OutputError, OutputShapeError

Source = Union[bytes, bytearray, memoryview, str, "os.PathLike[str]"]
Size = Union[int, str, None]

#: How a compiled model begins.
MAGIC = b"\x89TWNC\r\n\x1a"
PROVIDER = "CPUExecutionProvider"
#: onnxruntime's words for the types of elements.
TYPES = {
    "f32": "tensor(float)",
    "i8": "tensor(int8)",
    "u8": "tensor(uint8)",
    "i16": "tensor(int16)",
    "i32": "tensor(int32)",
    "i64": "tensor(int64)",
    "bool": "tensor(bool)",
}


@dataclass(frozen=True)
class NodeArg:
    """An input or output of a model.

    Attributes:
        name: its name.
        type: the type of its elements, in onnxruntime's words: ``tensor(float)``.
        shape: for each axis its size; the name of an open size; or None where open sizes decide.
    """

    name: str
    type: str
    shape: list[Size]


class SessionOptions:
    """How a session runs.

    Attributes:
        intra_op_num_threads: how many threads compute; 0, as in onnxruntime, means as many as there are processors for this process. The
            number changes no bit of any result.
        backend: the path of execution (``avx512``, ``avx2``, ``portable``, ``interpreter``), or None for the fastest.
        max_memory: the most bytes that a run may take, or None for three quarters of the machine's.
        tuning: a file that ``twnc bench --autotune --store FILE`` has written, or None.

    Other attributes that onnxruntime's options have may be set, and change nothing.
    """

    def __init__(self) -> None:
        self.intra_op_num_threads: int = 0
        self.backend: str | None = None
        self.max_memory: int | None = None
        self.tuning: str | os.PathLike[str] | None = None

    def add_session_config_entry(self, key: str, value: str) -> None:
        """Takes an entry of onnxruntime's configuration, which changes nothing."""


class GraphOptimizationLevel(enum.IntEnum):
    """onnxruntime's levels, for scripts that set one; how a model is compiled, options of the compilation say."""

    ORT_DISABLE_ALL = 0
    ORT_ENABLE_BASIC = 1
    ORT_ENABLE_EXTENDED = 2
    ORT_ENABLE_ALL = 99


class ExecutionMode(enum.IntEnum):
    """onnxruntime's modes, for scripts that set one; steps run one after the other, each on all threads."""

    ORT_SEQUENTIAL = 0
    ORT_PARALLEL = 1


def get_device() -> str:
    """What it runs on."""
    return "CPU"


def get_available_providers() -> list[str]:
    """The one provider that there is."""
    return [PROVIDER]


class InferenceSession:
    """Runs a model.

    Args:
        path_or_bytes: a compiled model (``model.bin``), or an ONNX model, by path or as bytes. An ONNX model is compiled in memory, with
            ``ternarise="detected"`` unless the options say otherwise: layers that are ternary in the file are recognised, and all others stay
            float, so that outputs are those of the file to float rounding.
        sess_options: how it runs.
        providers: as in onnxruntime; runs on the processor whatever they say, and warns if that is not among them.
        provider_options: as in onnxruntime; ignored.
        options: of the compilation of an ONNX model, as for `twnc.compile`.

    Raises:
        OSError: the file cannot be read.
        ModelError: the model is not acceptable.
        OptionError: an option that there is not, or one for a model that is compiled already.
        BackendError: a path of execution that is not available, or threads that cannot be started.

    Several threads may run one session at a time; what each computes is what it would alone, byte for byte. A session can be pickled: the pickle
    holds the compiled model.
    """

    def __init__(
        self,
        path_or_bytes: Source,
        sess_options: SessionOptions | None = None,
        providers: Sequence[Any] | None = None,
        provider_options: Sequence[Any] | None = None,
        **options: Any,
    ) -> None:
        from . import compiling

        names = [entry[0] if isinstance(entry, tuple) else entry for entry in providers or [PROVIDER]]
        if PROVIDER not in names:
            warnings.warn(f"twnc runs on the processor, not on {', '.join(map(str, names))}", stacklevel=2)
        model = path_or_bytes
        if isinstance(model, (bytes, bytearray, memoryview)):
            model = bytes(model)
        elif not isinstance(model, (str, os.PathLike)):
            raise ModelError(f"a {type(model).__name__} is no model; give a path or bytes")
        if not _is_compiled(model):
            options.setdefault("ternarise", "detected")
            model = compiling.compile(model, report=None, **options).model
        elif options:
            raise OptionError(f"the model is compiled already; {', '.join(options)} are options of a compilation")
        self._open(model, sess_options or SessionOptions())

    def _open(self, model: Source, options: SessionOptions) -> None:
        self._options = options
        self._session = _twnc.Session(
            model,
            threads=options.intra_op_num_threads or _processors(),
            backend=options.backend,
            max_memory=options.max_memory,
            tuning=options.tuning,
        )
        self._run = self._session.run

    def __getstate__(self) -> dict[str, Any]:
        return {"model": self._session.to_bytes(), "options": self._options}

    def __setstate__(self, state: Mapping[str, Any]) -> None:
        self._open(state["model"], state["options"])

    def run(
        self,
        output_names: Sequence[str] | None,
        input_feed: Mapping[str, numpy.ndarray],
        run_options: Any = None,
    ) -> list[numpy.ndarray]:
        """Runs the model.

        Args:
            output_names: the outputs to give, in this order; None for all, in the model's.
            input_feed: an array for each input, of the shape and the type of elements that `get_inputs` says. Arrays are read where they are, with
                any strides; do not write to them meanwhile.
            run_options: as in onnxruntime; ignored.

        Returns:
            The outputs, each an array of its own.

        Raises:
            UnknownInputError, MissingInputError, InputShapeError, ElementError: the inputs do not fit the model.
            OutputError: there is no such output.
            LimitError: there is no memory for the run, or it may not take so much.
            RunError: a step cannot be computed for these elements.
        """
        if type(input_feed) is not dict:
            input_feed = dict(input_feed)
        return self._run(output_names, input_feed)

    def run_into(self, input_feed: Mapping[str, numpy.ndarray], outputs: Mapping[str, numpy.ndarray]) -> None:
        """Runs the model into arrays for all of its outputs, which allocates nothing.

        Args:
            input_feed: as for `run`.
            outputs: for each output a contiguous array, of its shape and type of elements.

        Raises:
            OutputError: an array is missing, or is none that can be written.
            OutputShapeError: an array has another shape than the output; nothing has been computed.
            TwncError: as for `run`; the arrays then hold anything.
        """
        self._session.run_into(dict(input_feed), dict(outputs))

    def io_binding(self) -> IOBinding:
        """Bindings of arrays for `run_with_iobinding`."""
        return IOBinding(self)

    def run_with_iobinding(self, iobinding: IOBinding, run_options: Any = None) -> None:
        """Runs the model on the arrays that are bound; errors are those of `run_into`."""
        iobinding._run()

    def get_inputs(self) -> list[NodeArg]:
        """What the model takes, in order."""
        return [NodeArg(name, TYPES.get(element, element), shape) for name, element, shape in self._session.inputs()]

    def get_outputs(self) -> list[NodeArg]:
        """What the model gives, in order."""
        return [NodeArg(name, TYPES.get(element, element), shape) for name, element, shape in self._session.outputs()]

    def get_providers(self) -> list[str]:
        """The one provider that there is."""
        return [PROVIDER]

    def get_session_options(self) -> SessionOptions:
        """The options that it was made with."""
        return self._options

    @property
    def backend(self) -> str:
        """The path of execution: ``avx512``, ``avx2``, ``portable`` or ``interpreter``."""
        return self._session.backend

    def to_bytes(self) -> bytes:
        """The compiled model, as a ``model.bin`` has it."""
        return self._session.to_bytes()


class IOBinding:
    """Arrays for the inputs and outputs of a session, used again in every run.

    Outputs without an array get one in the first run, and another when their shapes change.
    """

    def __init__(self, session: InferenceSession) -> None:
        self._session = session
        self._inputs: dict[str, numpy.ndarray] = {}
        self._outputs: dict[str, numpy.ndarray] = {}
        self._bound: dict[str, bool] = {}

    def bind_cpu_input(self, name: str, arr_on_cpu: numpy.ndarray) -> None:
        """Binds an array to an input; what it holds when the model runs is read."""
        self._inputs[name] = arr_on_cpu

    def bind_output(self, name: str, device_type: str = "cpu", array: numpy.ndarray | None = None) -> None:
        """Asks for an output, in an array of the caller's if one is given."""
        if device_type != "cpu":
            raise OutputError(f"output `{name}` cannot be on `{device_type}`: twnc runs on the processor")
        if all(port.name != name for port in self._session.get_outputs()):
            known = ", ".join(f"`{port.name}`" for port in self._session.get_outputs())
            raise OutputError(f"the model has no output `{name}`; it has {known}")
        self._bound[name] = array is not None
        if array is None:
            self._outputs.pop(name, None)
        else:
            self._outputs[name] = array

    def clear_binding_inputs(self) -> None:
        """Forgets the arrays of inputs."""
        self._inputs.clear()

    def clear_binding_outputs(self) -> None:
        """Forgets the outputs."""
        self._bound.clear()
        self._outputs.clear()

    def copy_outputs_to_cpu(self) -> list[numpy.ndarray]:
        """The outputs that were asked for, in the order in which they were: the arrays that the next run writes, not copies."""
        return [self._outputs[name] for name in self._bound]

    def _run(self) -> None:
        names = [port.name for port in self._session.get_outputs()]
        if all(name in self._outputs for name in names):
            try:
                return self._session.run_into(self._inputs, self._outputs)
            except OutputShapeError:
                pass  # Arrays of ours are exchanged below, and those of the caller's are not.
        for name, array in zip(names, self._session.run(None, self._inputs)):
            if self._bound.get(name):
                place = self._outputs[name]
                if place.shape != array.shape or place.dtype != array.dtype:
                    raise OutputShapeError(
                        f"output `{name}` is {array.dtype}{list(array.shape)}, but the array for it is {place.dtype}{list(place.shape)}"
                    )
                place[...] = array
            else:
                self._outputs[name] = array


def _is_compiled(model: bytes | str | os.PathLike[str]) -> bool:
    """Whether this is a compiled model."""
    if isinstance(model, bytes):
        return model.startswith(MAGIC)
    with open(model, "rb") as file:
        return file.read(len(MAGIC)) == MAGIC


def _processors() -> int:
    """How many processors this process may use."""
    try:
        return len(os.sched_getaffinity(0))
    except AttributeError:  # not on every system
        return os.cpu_count() or 1
