"""Network compiled for images of one shape. Images of other shapes use the original network."""

from typing import Any

import torch
import torch._inductor
from torch import Tensor, nn
from torch.fx.experimental.proxy_tensor import make_fx


class CompiledForOneShape(nn.Module):
    """Return `model`, for inference only, as one program that PyTorch's Inductor makes, weights included.

    It is traced as it runs on the example. So packed weights stay packed (`torch.compile` refuses them), and operations
    between their layers are fused. This takes ten seconds, and a C++ compiler on a CPU.
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
