"""One function of a package, at one size of image, against the model: the runs, and what can be read from them."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property

import torch
from torch import Tensor, nn

from mvlab.export.claims import false_claims
from mvlab.export.coreml import MAIN, OUTPUTS
from mvlab.export.deviation import Deviation, first_rounded_away, first_unlike, spread
from mvlab.export.errors import PackageError
from mvlab.export.mil.execute import Rounds, as_declared, in_fp32, outputs, run
from mvlab.export.mil.program import Program, Ref, Value
from mvlab.export.reference import Preprocess, Reference, Weight, tensors_of, trace
from mvlab.export.rounding_error import Loss, by_kind, by_operation, rounding
from mvlab.export.stored_weights import ChangedWeight, StoredWeights, compare_weights, is_rounding, with_weights
from mvlab.export.verification import OutputErrors
from mvlab.training.state import weights_sha256

REMEDIES: Mapping[str, Callable[[Tensor], Tensor]] = {
    "with red and blue exchanged": lambda images: images.flip(1),
    "255 times as bright": lambda images: images * 255,
    "255 times as bright, red and blue exchanged": lambda images: images.flip(1) * 255,
    "255 times as dark": lambda images: images / 255,
    "in [-1, 1]": lambda images: images * 2 - 1,
}
"""What a package's preprocessing may do instead of the model's."""
DECISIONS = ("cast", "softmax")
"""What may follow the model's scores in a package."""
BOX_OFFSETS, _ = OUTPUTS["detection"]
"""The output that holds no scores."""
(PROBABILITIES,) = OUTPUTS["classification"]


@dataclass(frozen=True, slots=True)
class _Pair:
    """A tensor of the program, and its counterpart among the model's outputs."""

    label: str
    name: str
    place: int
    """Of the model's output."""
    is_softmax: bool = False
    """True if it has to be the softmax of the model's output, false if that itself."""
    scores: str | None = None
    """The tensor of the program that it is the softmax of, if it is one."""

    def expected(self, outputs: tuple[Tensor, ...]) -> Tensor:
        return outputs[self.place].softmax(1) if self.is_softmax else outputs[self.place]

    def off(self, values: Mapping[str, Tensor], expected: Tensor) -> Tensor:
        """Of what the program may answer for: probabilities of its own scores, which are held against the model's by
        themselves. What fp16 costs a thousand scores, a softmax may make ten times as much of, or nothing."""
        return values[self.name] - (expected if self.scores is None else values[self.scores].softmax(1))


@dataclass(frozen=True)
class Comparison:
    """Everything is computed when it is first asked for."""

    function: str
    program: Program
    model: nn.Module
    images: Tensor
    """uint8 (N, 3, H, W), RGB."""
    preprocess: Preprocess
    classes: Sequence[str] = ()
    """Labels in the order of the model's scores; empty if nothing tells them."""

    @cached_property
    def reference(self) -> Reference:
        """The model's way with the first image."""
        return trace(self.model, self.preprocess, self.images[:1])

    @cached_property
    def stored(self) -> StoredWeights:
        return compare_weights(self.program, self.reference)

    @cached_property
    def restored(self) -> Program:
        """The program with the model's own weights."""
        return with_weights(self.program, self.stored.restored)

    @cached_property
    def pairs(self) -> list[_Pair]:
        return list(_pairs(self.program, self.reference.outputs))

    def errors(self) -> list[OutputErrors]:
        """Of every output."""
        with torch.no_grad():
            expected = [tensors_of(self.model(self._model_input(place))) for place in range(len(self.images))]
        exact, declared = self._results(self.restored, in_fp32), self._results(self.program, as_declared)
        return [
            self._error(pair, torch.cat([pair.expected(each) for each in expected]), exact, declared)
            for pair in self.pairs
        ]

    def _error(
        self, pair: _Pair, expected: Tensor, exact: Mapping[str, Tensor], declared: Mapping[str, Tensor]
    ) -> OutputErrors:
        if exact[pair.name].shape != expected.shape:
            given, wanted = tuple(exact[pair.name].shape), tuple(expected.shape)
            raise PackageError(
                f"the package gives {pair.label!r} of shape {given}, the model {wanted} "
                f"for {len(self.images)} images: they are not the same network, or have not the same classes"
            )
        unit, off = spread(expected), (declared[pair.name] - expected).abs()
        return OutputErrors(
            function=self.function,
            size=(self.images.shape[2], self.images.shape[3]),
            output=pair.label,
            spread=unit,
            exact=float(pair.off(exact, expected).abs().max()) / unit,
            relative=float(pair.off(declared, expected).abs().max()) / unit,
            max_abs=float(off.max()),
            mean_abs=float(off.mean()),
            top1_agreement=None if pair.label == BOX_OFFSETS else _agreement(declared[pair.name], expected),
        )

    def _results(self, program: Program, rounds: Rounds) -> dict[str, Tensor]:
        """Of all images, one after the other."""
        names = [pair.name for pair in self.pairs]
        found = [outputs(program, image, names=names, rounds=rounds) for image in self.images]
        return {name: torch.cat([_tensor(values[name]) for values in found]) for name in names}

    def _model_input(self, place: int) -> Tensor:
        return self.preprocess(self.images[place : place + 1])

    def false_claims(self) -> list[str]:
        return [
            *false_claims(
                self.program,
                function=self.function,
                classes=self.classes,
                num_classes=self.reference.outputs[0].shape[1],
                weights_sha256=weights_sha256(self.model.state_dict()),
            )
        ]

    def changed(self) -> list[ChangedWeight]:
        """Weights of the model that are stored with other elements."""
        return [replace(each, constant=self._told(each.constant)) for each in self.stored.changed]

    def foreign(self) -> list[str]:
        """Stored tensors that are no weight of the model's."""
        return [self._told(name) for name in self.stored.foreign]

    def first_inexact(self, tolerance: float) -> Deviation | None:
        """The first operation from which on the program, with the model's weights, is not the model."""
        values = run(self.restored, self.images[0], rounds=in_fp32)
        return self._told_of(first_unlike(self.program, values, self.reference.values, tolerance))

    def first_imprecise(self, tolerance: float) -> Deviation | None:
        """The first operation that what the program declares takes past the tolerance."""
        rounded = run(self.program, self.images[0])
        return self._told_of(first_rounded_away(self.program, self._in_fp32, rounded, tolerance))

    def _told_of(self, deviation: Deviation | None) -> Deviation | None:
        return None if deviation is None else replace(deviation, operation=self._told(deviation.operation))

    def _told(self, name: str) -> str:
        """With the function before it, where that is not the main one: functions have the same names in them."""
        return name if self.function == MAIN else f"{self.function}/{name}"

    def remedy(self, tolerance: float) -> str | None:
        """What done to the image makes the model agree with the program, if anything does."""
        pair = self.pairs[0]
        found = _tensor(outputs(self.restored, self.images[0], names=[pair.name], rounds=in_fp32)[pair.name])
        for remedy, change in REMEDIES.items():
            with torch.no_grad():
                expected = pair.expected(tensors_of(self.model(change(self._model_input(0)))))
            if float((found - expected).abs().max()) / spread(expected) <= tolerance:
                return remedy
        return None

    def foreign_epsilons(self) -> list[str]:
        """Those of normalisations that the model has in none of the kind; at 1e-5 they may hardly move an output."""
        found = []
        for operation in self.program.operations:
            known = [epsilon for kind, epsilon in self.reference.epsilons if kind == operation.kind]
            argument = operation.arguments.get("epsilon")
            if known and isinstance(argument, Ref):
                stored = _tensor(self.program.constants[argument.name])
                if not any(is_rounding(stored, Weight("epsilon", torch.tensor(each))) for each in known):
                    found.append(f"{operation.kind} {self._told(operation.name)!r} has epsilon {float(stored):.1e}")
        return found

    @cached_property
    def _in_fp32(self) -> dict[str, Value]:
        """The first image's way through the stored program."""
        return run(self.program, self.images[0], rounds=in_fp32)

    def losses(self) -> tuple[list[Loss], list[Loss]]:
        """By kind and by operation, in the first output."""
        if not rounding(self.program):
            return [], []
        name = self.pairs[0].name
        return by_kind(self.program, self._in_fp32, name), by_operation(self.program, self._in_fp32, name)


def _agreement(ours: Tensor, theirs: Tensor) -> float:
    """Share of images (B, classes), pixels (B, classes, H, W) or boxes (B, boxes, classes) of the same best class."""
    axis = 2 if theirs.ndim == 3 else 1
    return float((ours.argmax(axis) == theirs.argmax(axis)).double().mean())


def _pairs(program: Program, expected: tuple[Tensor, ...]) -> Iterator[_Pair]:
    """Return what to compare: outputs as they are, and of probabilities the scores too that they are made of.

    An output's name says what it has to be. Only where it is no name of ours does the program say so.
    """
    classify = next((each for each in program.operations if each.kind == "classify"), None)
    names = program.outputs
    if classify is not None:
        probabilities = classify.arguments["probabilities"]
        assert isinstance(probabilities, Ref)
        names = (probabilities.name,)
    if len(names) != len(expected):
        raise PackageError(
            f"the package has {len(names)} outputs ({', '.join(names)}), the model {len(expected)}: "
            "they are not the same network"
        )
    ours = next((each for each in OUTPUTS.values() if set(each) == set(names)), ())
    for place, name in enumerate(ours or names):
        scores = _before_softmax(program, name)
        if classify is not None or name == PROBABILITIES or (scores is not None and not ours):
            yield from _probabilities(name, scores, place)
        else:
            yield _Pair(name, name, place)


def _probabilities(name: str, scores: str | None, place: int) -> Iterator[_Pair]:
    if scores is None:
        yield _Pair("probabilities without a softmax", name, place, is_softmax=True)
    else:
        yield _Pair("logits", scores, place)
        yield _Pair("probabilities", name, place, is_softmax=True, scores=scores)


def _before_softmax(program: Program, name: str) -> str | None:
    """What the tensor called `name` is the softmax of, if it is one."""
    operation = program.producer(name)
    while operation is not None and operation.kind in DECISIONS:
        before = operation.arguments["x"]
        assert isinstance(before, Ref)
        if operation.kind == "softmax":
            return before.name
        operation = program.producer(before.name)
    return None


def _tensor(value: Value) -> Tensor:
    assert isinstance(value, Tensor)
    return value
