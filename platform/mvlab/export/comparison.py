"""Comparison of one function of a package with the model, at one image size: the runs, and their evaluation."""

import copy
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any

import torch
from torch import Tensor, nn

from mvlab.export.claims import false_claims
from mvlab.export.coreml import MAIN
from mvlab.export.detections import Agreement, compare
from mvlab.export.detector import Decoded, scores_of
from mvlab.export.deviation import Deviation, first_rounded_away, first_unlike, spread
from mvlab.export.errors import PackageError
from mvlab.export.mil.execute import Rounds, as_declared, outputs, run, unrounded
from mvlab.export.mil.program import Program, Ref, Value
from mvlab.export.pairs import FORMS, Pair, boxes_and_scores, pairs_of
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
"""Changes to an image that explain a package with wrong preprocessing."""


@dataclass(frozen=True)
class Comparison:
    """Comparison whose parts are computed on first use.

    The model runs in float64. So does the program with the model's weights. As it is, it runs in fp32.
    """

    function: str
    program: Program
    model: nn.Module
    images: Tensor
    """uint8 (N, 3, H, W), RGB."""
    preprocess: Preprocess
    classes: Sequence[str] = ()
    """Labels in the order of the model's scores; empty if unknown."""

    @cached_property
    def detector(self) -> tuple[str, str] | None:
        """Names of boxes and scores, if the package gives them."""
        return boxes_and_scores(self.program)

    @cached_property
    def exact_model(self) -> nn.Module:
        """Copy of the model in float64."""
        return copy.deepcopy(self.model).double()

    @cached_property
    def forward(self) -> Callable[[Tensor], Any]:
        """The model; for a package with boxes, a detector with decoded boxes, on one image."""
        if self.detector is None:
            return self.exact_model
        decoded = Decoded(self.exact_model, self.images.shape[2], FORMS[self.detector])
        return lambda image: tuple(each[0] for each in decoded(image))

    @cached_property
    def reference(self) -> Reference:
        """Run of the model on the first image."""
        return trace(self.exact_model, self.preprocess, self.images[:1].double(), forward=self.forward)

    @cached_property
    def stored(self) -> StoredWeights:
        return compare_weights(self.program, self.reference)

    @cached_property
    def restored(self) -> Program:
        """Program with the model's own weights."""
        return with_weights(self.program, self.stored.restored)

    @cached_property
    def pairs(self) -> list[Pair]:
        return list(pairs_of(self.program, self.reference.outputs))

    @cached_property
    def expected(self) -> list[tuple[Tensor, ...]]:
        """Outputs of the model for each image."""
        with torch.no_grad():
            return [tensors_of(self.forward(self._model_input(place))) for place in range(len(self.images))]

    @cached_property
    def declared(self) -> dict[str, Tensor]:
        """Results of the program as it is, of all images."""
        return self._results(self.program, as_declared)

    def errors(self) -> list[OutputErrors]:
        """Errors of every output."""
        exact = self._results(self.restored, unrounded, torch.float64)
        return [
            self._error(pair, torch.cat([pair.expected(each) for each in self.expected]), exact, self.declared)
            for pair in self.pairs
        ]

    def detections(self) -> list[Agreement]:
        """Agreement of a detector's detections; nothing for other networks."""
        if self.detector is None:
            return []
        ours = zip(*(self.declared[name].chunk(len(self.images)) for name in self.detector), strict=True)
        theirs = ((boxes.float(), scores_of(logits).float()) for boxes, logits in self.expected)
        size = (self.images.shape[2], self.images.shape[3])
        return [compare(ours, theirs, self.program.suppression, function=self.function, size=size)]

    def _error(
        self, pair: Pair, expected: Tensor, exact: Mapping[str, Tensor], declared: Mapping[str, Tensor]
    ) -> OutputErrors:
        if exact[pair.name].shape != expected.shape:
            given, wanted = tuple(exact[pair.name].shape), tuple(expected.shape)
            raise PackageError(
                f"the package gives {pair.label!r} of shape {given}, the model {wanted} "
                f"for {len(self.images)} images: they are not the same network, or do not have the same classes"
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
            top1_agreement=None if self.detector else _agreement(declared[pair.name], expected),
        )

    def _results(self, program: Program, rounds: Rounds, dtype: torch.dtype = torch.float32) -> dict[str, Tensor]:
        """Run the program on all images, one by one."""
        names = [pair.name for pair in self.pairs]
        found = [outputs(program, image, names=names, rounds=rounds, dtype=dtype) for image in self.images]
        return {name: torch.cat([_tensor(values[name]) for values in found]) for name in names}

    def _model_input(self, place: int) -> Tensor:
        return self.preprocess(self.images[place : place + 1].double())

    def false_claims(self) -> list[str]:
        return [
            *false_claims(
                self.program,
                function=self.function,
                classes=self.classes,
                num_classes=self._num_classes(),
                weights_sha256=weights_sha256(self.model.state_dict()),
            )
        ]

    def _num_classes(self) -> int:
        """Classes with a label: a detector's background has none."""
        outputs = self.reference.outputs
        return outputs[1].shape[1] - 1 if self.detector else outputs[0].shape[1]

    def changed(self) -> list[ChangedWeight]:
        """Weights of the model that are stored with changed elements."""
        return [replace(each, constant=self._told(each.constant)) for each in self.stored.changed]

    def foreign(self) -> list[str]:
        """Stored tensors that are no weight of the model."""
        return [self._told(name) for name in self.stored.foreign]

    def first_inexact(self, tolerance: float) -> Deviation | None:
        """First operation from which the program, with the model's weights, deviates from the model."""
        values = run(self.restored, self.images[0], rounds=unrounded, dtype=torch.float64)
        return self._told_of(first_unlike(self.program, values, self.reference.values, tolerance))

    def first_imprecise(self, tolerance: float) -> Deviation | None:
        """First operation at which the declared precision exceeds the tolerance."""
        rounded = run(self.program, self.images[0])
        return self._told_of(first_rounded_away(self.program, self._in_fp32, rounded, tolerance))

    def _told_of(self, deviation: Deviation | None) -> Deviation | None:
        return None if deviation is None else replace(deviation, operation=self._told(deviation.operation))

    def _told(self, name: str) -> str:
        """Return the name, after that of the function unless it is the main one. Functions share names within them."""
        return name if self.function == MAIN else f"{self.function}/{name}"

    def remedy(self, tolerance: float) -> str | None:
        """Change to the image that makes the model agree with the program, if there is one."""
        pair = self.pairs[0]
        results = outputs(self.restored, self.images[0], names=[pair.name], rounds=unrounded, dtype=torch.float64)
        found = _tensor(results[pair.name])
        for remedy, change in REMEDIES.items():
            with torch.no_grad():
                expected = pair.expected(tensors_of(self.forward(change(self._model_input(0)))))
            if float((found - expected).abs().max()) / spread(expected) <= tolerance:
                return remedy
        return None

    def foreign_epsilons(self) -> list[str]:
        """Epsilons that no normalisation of that kind has in the model. At 1e-5 they may hardly change an output."""
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
        """Run of the stored program on the first image, in fp32."""
        return run(self.program, self.images[0], rounds=unrounded)

    def losses(self) -> tuple[list[Loss], list[Loss]]:
        """Rounding errors in the first output, by kind and by operation."""
        if not rounding(self.program):
            return [], []
        name = self.pairs[0].name
        return by_kind(self.program, self._in_fp32, name), by_operation(self.program, self._in_fp32, name)


def _agreement(ours: Tensor, theirs: Tensor) -> float:
    """Return the share of equal top classes.

    Shares are of images (B, classes), of pixels (B, classes, H, W) or of boxes (B, boxes, classes).
    """
    axis = 2 if theirs.ndim == 3 else 1
    return float((ours.argmax(axis) == theirs.argmax(axis)).double().mean())


def _tensor(value: Value) -> Tensor:
    assert isinstance(value, Tensor)
    return value
