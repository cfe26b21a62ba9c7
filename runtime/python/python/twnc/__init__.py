"""Compiles neural networks to ternary programs, and runs them without multiplications.

`InferenceSession` runs a compiled model, or an ONNX file, as onnxruntime's does: change the import, and keep the script. `compile` and `calibrate`
make compiled models, `train` trains networks whose weights are ternary, `inspect` and `compare` tell what came of it. All errors are `TwncError`.

What happens meanwhile is logged as `twnc`, warnings among it.
"""

from .compiling import Compilation, Training, calibrate, compare, compile, inspect, train
from .errors import *  # noqa: F403 (its __all__ is the list of errors)
from .errors import __all__ as _errors
from .report import Comparison, Layer, LayerDistance, Report, Totals
from .session import (
    ExecutionMode,
    GraphOptimizationLevel,
    InferenceSession,
    IOBinding,
    NodeArg,
    SessionOptions,
    get_available_providers,
    get_device,
)

__all__ = [
    "Comparison",
    "Compilation",
    "ExecutionMode",
    "GraphOptimizationLevel",
    "IOBinding",
    "InferenceSession",
    "Layer",
    "LayerDistance",
    "NodeArg",
    "Report",
    "SessionOptions",
    "Totals",
    "Training",
    "calibrate",
    "compare",
    "compile",
    "get_available_providers",
    "get_device",
    "inspect",
    "train",
    *_errors,
]
