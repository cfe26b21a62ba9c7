"""What the compiler tells of a model, as objects; `data` has all of the JSON that they are made of."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, fields
from typing import Any, TypeVar

T = TypeVar("T")


@dataclass(frozen=True)
class Totals:
    """Operations of one inference; sizes that are open count as 1."""

    additions: int
    multiplications: int
    #: Those of the same network with float weights.
    multiplications_float_network: int


@dataclass(frozen=True)
class Layer:
    """A convolution or linear layer."""

    name: str
    op: str
    #: The weight's shape.
    shape: list[int]
    ternary: bool
    #: How the weight is stored in the ONNX file.
    in_file: str | None
    #: As what a weight was taken over that is ternary in the file.
    recognised: str | None
    #: Why it is not ternary; of a layer that was rounded, why it is not in the file.
    why_not: str | None
    #: ``layer``, ``channel``, ``group`` or None.
    scale: str | None
    #: The share of weights that are zero.
    sparsity: float
    bits_per_weight: float
    additions: int
    multiplications_kernel: int
    multiplications_epilogue: int


@dataclass(frozen=True)
class Report:
    """What a model is made of, and what the compiler did and did not do."""

    #: The size of the compiled model.
    bytes: int
    layers: list[Layer]
    totals: Totals
    #: What passes said of layers: dictionaries of ``pass``, ``layer``, ``kind``, ``topic`` and ``message``; none of a model.bin.
    remarks: list[dict[str, Any]]
    #: All of the JSON.
    data: dict[str, Any]

    @classmethod
    def of(cls, data: dict[str, Any]) -> Report:
        """The report that some JSON is."""
        layers = [_made(Layer, layer) for layer in data["layers"]]
        return cls(data["bytes"], layers, _made(Totals, data["totals"]), data.get("remarks", []), data)


@dataclass(frozen=True)
class LayerDistance:
    """How far a layer's result is from the float network's."""

    name: str
    max_abs: float
    cosine: float
    #: Signal to quantisation noise; None where there is no noise.
    sqnr_db: float | None


@dataclass(frozen=True)
class Comparison:
    """A compiled model beside the float network that it came from, on data."""

    samples: int
    #: The share of samples for which both networks have the same class.
    agreement: float
    #: Shares of samples that are right; None without labels.
    top1: float | None
    top1_float: float | None
    top5: float | None
    max_abs: float
    cosine: float
    sqnr_db: float | None
    layers: list[LayerDistance]
    #: All of the JSON.
    data: dict[str, Any]

    @classmethod
    def of(cls, data: dict[str, Any]) -> Comparison:
        """The comparison that some JSON is."""
        layers = [_made(LayerDistance, layer) for layer in data["layers"]]
        return _made(cls, {**data, "layers": layers, "data": data})


def _made(kind: type[T], data: Mapping[str, Any]) -> T:
    """An object of the keys that it knows: more may join them."""
    return kind(**{field.name: data[field.name] for field in fields(kind)})  # type: ignore[arg-type]
