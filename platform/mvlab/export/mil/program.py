"""Program of a package as plain values, read from the saved file alone."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

from torch import Tensor

from mvlab.export.mil.suppression import Suppression


@dataclass(frozen=True, slots=True)
class Ref:
    """Argument that is another operation's output, a constant, or an input, by name."""

    name: str


Value = Tensor | str | list[str]
"""Value of a name. Every integer is int32 or int64."""
Argument = Ref | Value | list[Ref]


@dataclass(frozen=True, slots=True)
class Output:
    """Output of an operation, as the program declares it."""

    name: str
    type: str
    """MIL's type: "FLOAT16", "FLOAT32", "INT32", "BOOL", "STRING"; "DICTIONARY" in a classifier."""
    shape: tuple[int | None, ...]
    """Shape; None for a dimension that depends on the image's size."""


@dataclass(frozen=True, slots=True)
class Operation:
    """Step of a program. Constants are no steps."""

    kind: str
    """MIL's name of the operation, e.g. "conv"."""
    place: int
    """Position in the order of execution, from 0."""
    arguments: Mapping[str, Argument]
    outputs: tuple[Output, ...]

    @property
    def name(self) -> str:
        """Name of its first output."""
        return self.outputs[0].name

    def refs(self) -> Iterator[str]:
        """Yield the names that it reads."""
        for argument in self.arguments.values():
            for each in argument if isinstance(argument, list) else (argument,):
                if isinstance(each, Ref):
                    yield each.name


@dataclass(frozen=True, slots=True)
class ImageInput:
    """Image of 8 bits a channel. The caller converts it to `colours`."""

    name: str
    colours: str
    """"RGB" or "BGR": the order of the channels as the program gets them."""
    sizes: tuple[tuple[int, int], ...]
    """Sizes (height, width), the default first."""


@dataclass(frozen=True, slots=True)
class TensorInput:
    """Tensor. The caller does all preprocessing."""

    name: str
    sizes: tuple[tuple[int, int], ...]
    """Sizes (height, width) of (B, C, H, W), the default first."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Interface:
    """Description of a package for its caller, beside its program."""

    outputs: tuple[str, ...]
    """Names of the outputs."""
    label: str
    """Output with the most probable class; empty if the package is no classifier."""
    probabilities: str
    """Output with the probability of each label; empty if the package is no classifier."""
    metadata: Mapping[str, str]


@dataclass(frozen=True, kw_only=True, slots=True)
class Program:
    """Function of a package."""

    input: ImageInput | TensorInput
    constants: Mapping[str, Value]
    """Constants as stored, in fp16 or fp32."""
    operations: Sequence[Operation]
    outputs: tuple[str, ...]
    labels: tuple[str, ...]
    """Labels of a classifier, or of a pipeline's stage; otherwise empty."""
    interface: Interface
    specification_version: int
    suppression: Suppression | None = None
    """Stage of a pipeline that takes the outputs, if there is one."""

    def producer(self, name: str) -> Operation | None:
        """Return the operation with the output `name`."""
        return next((each for each in self.operations if name in [output.name for output in each.outputs]), None)
