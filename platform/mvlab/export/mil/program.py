"""A package's program as plain values: what the saved file says, and nothing that a converter remembers."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

from torch import Tensor


@dataclass(frozen=True, slots=True)
class Ref:
    """An argument that is another operation's output, a constant, or an input, by name."""

    name: str


Value = Tensor | str | list[str]
"""What a name stands for. Every integer is int32 or int64."""
Argument = Ref | Value | list[Ref]


@dataclass(frozen=True, slots=True)
class Output:
    """Of an operation, as the program declares it."""

    name: str
    type: str
    """MIL's name for it: "FLOAT16", "FLOAT32", "INT32", "BOOL", "STRING"; "DICTIONARY" of a classifier."""
    shape: tuple[int | None, ...]
    """None where it depends on the image's size."""


@dataclass(frozen=True, slots=True)
class Operation:
    """One step of a program; constants are none."""

    kind: str
    """MIL's name for it, e.g. "conv"."""
    place: int
    """From 0, in the order of execution."""
    arguments: Mapping[str, Argument]
    outputs: tuple[Output, ...]

    @property
    def name(self) -> str:
        """That of its first output."""
        return self.outputs[0].name

    def refs(self) -> Iterator[str]:
        """The names that it reads."""
        for argument in self.arguments.values():
            for each in argument if isinstance(argument, list) else (argument,):
                if isinstance(each, Ref):
                    yield each.name


@dataclass(frozen=True, slots=True)
class ImageInput:
    """A picture: 8 bits a channel, converted to `colours` by whoever runs the program."""

    name: str
    colours: str
    """"RGB" or "BGR": the order of the channels as the program gets them."""
    sizes: tuple[tuple[int, int], ...]
    """(height, width), the default one first."""


@dataclass(frozen=True, slots=True)
class TensorInput:
    """A tensor: the program leaves all preprocessing to whoever runs it."""

    name: str
    sizes: tuple[tuple[int, int], ...]
    """(height, width) of (B, C, H, W), the default one first."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Interface:
    """Description that a package gives its caller, beside its program."""

    outputs: tuple[str, ...]
    """Names."""
    label: str
    """The output that names the most probable class; empty if the package is no classifier."""
    probabilities: str
    """The output that gives the probability of each label; empty if the package is no classifier."""
    metadata: Mapping[str, str]


@dataclass(frozen=True, kw_only=True, slots=True)
class Program:
    """A function of a package."""

    input: ImageInput | TensorInput
    constants: Mapping[str, Value]
    """As they are stored: tensors of fp16 or fp32 too."""
    operations: Sequence[Operation]
    outputs: tuple[str, ...]
    labels: tuple[str, ...]
    """Of a classifier, else empty."""
    interface: Interface
    specification_version: int

    def producer(self, name: str) -> Operation | None:
        """The operation that `name` is an output of."""
        return next((each for each in self.operations if name in [output.name for output in each.outputs]), None)
