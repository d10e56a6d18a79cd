"""A network compiled for images of one shape; images of other shapes go through it as it was."""

from typing import Any

import torch
import torch._inductor
from torch import Tensor, nn
from torch.fx.experimental.proxy_tensor import make_fx


class CompiledForOneShape(nn.Module):
    """`model`, which only infers, as one program that PyTorch's Inductor makes of its operations, weights included.

    It is written down as it runs on the example, so packed weights stay packed (`torch.compile` refuses them), and what
    lies between their layers is fused. Takes ten seconds, and a C++ compiler on a CPU.
    """

    def __init__(self, model: nn.Module, example_BCHW: Tensor) -> None:
        super().__init__()
        self.model = model
        self.made_for = _kind(example_BCHW)
        with torch.inference_mode(False), torch.no_grad():
            example_BCHW = example_BCHW.clone(memory_format=torch.channels_last)
            graph = make_fx(model)(example_BCHW)
            self.program: Any = torch._inductor.compile(graph, [example_BCHW], options={"freezing": True})

    def forward(self, images_BCHW: Tensor) -> Any:
        if _kind(images_BCHW) != self.made_for:
            return self.model(images_BCHW)
        with torch.no_grad():
            return self.program(images_BCHW.contiguous(memory_format=torch.channels_last))


def _kind(images_BCHW: Tensor) -> tuple[torch.Size, torch.dtype, torch.device]:
    return images_BCHW.shape, images_BCHW.dtype, images_BCHW.device
