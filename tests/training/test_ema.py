"""The average covers the whole state."""

import torch
from torch import nn

from mvlab.training.ema import Ema


def test_it_is_the_recurrence_on_every_float_and_a_copy_of_every_count() -> None:
    torch.manual_seed(0)
    model = nn.Sequential(nn.Linear(4, 4), nn.BatchNorm1d(4))
    ema = Ema(model, decay=0.9)
    expected = {name: value.clone() for name, value in model.state_dict().items()}
    for _ in range(5):
        with torch.no_grad():
            model[0].weight.add_(torch.randn(4, 4))
        model(torch.randn(8, 4))
        ema.update()
        for name, value in model.state_dict().items():
            expected[name] = 0.9 * expected[name] + 0.1 * value if value.is_floating_point() else value.clone()
    for name, value in ema.module.state_dict().items():
        torch.testing.assert_close(value, expected[name])
    assert ema.module.state_dict()["1.num_batches_tracked"] == 5
    assert not ema.module.training
    assert not any(parameter.requires_grad for parameter in ema.module.parameters())
