"""The native half; users see what the other modules make of it."""

from collections.abc import Callable
from os import PathLike
from typing import Any, Optional, Union

from numpy import ndarray

Port = tuple[str, str, list[Union[int, str, None]]]

class Session:
    def __new__(
        cls,
        model: Union[bytes, str, "PathLike[str]"],
        *,
        threads: int = 1,
        backend: Optional[str] = None,
        max_memory: Optional[int] = None,
        tuning: Union[str, "PathLike[str]", None] = None,
    ) -> Session: ...
    @property
    def backend(self) -> str: ...
    @property
    def threads(self) -> int: ...
    def inputs(self) -> list[Port]: ...
    def outputs(self) -> list[Port]: ...
    def to_bytes(self) -> bytes: ...
    def run(self, names: Optional[list[str]], feeds: dict[str, ndarray]) -> list[ndarray]: ...
    def run_into(self, feeds: dict[str, ndarray], outputs: dict[str, ndarray]) -> None: ...

def main(arguments: list[str]) -> int: ...
def execute(
    arguments: list[str],
    given: dict[str, Any],
    results: list[str],
    listener: Callable[[str, Any], None],
) -> tuple[str, list[Optional[bytes]]]: ...
