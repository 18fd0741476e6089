"""The networks of ``cwic2018`` with weights of 8 bits, as a weights file holds them (docs/FORMAT.md section 7.4).

Rounding to the nearest costs 0.1 dB. So each layer is rounded on what reaches it of real pictures through the rounded
layers before it: errors make up for each other (``fit.py``), and the bias takes what is left of their mean.
"""

from __future__ import annotations

import copy
from collections.abc import Callable, Iterator

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from pillow_cwic.cwic2018.networks import Paper
from pillow_cwic.cwic2018.weights import FLOAT_LAYERS
from training.fit import compensated
from training.paper_context import symbols

LIMIT = 127
RATIOS = torch.linspace(0.4, 1, 31)  # of the scale at which nothing is clipped
PLACES = 256  # of each picture, at which a layer's inputs are looked at


def best_scale(weight: Tensor) -> Tensor:
    """Of the scales tried for each output of (O, I), that with the least squared error: (O,) float16."""
    tried = (weight.abs().amax(1) / LIMIT * RATIOS[:, None]).half()
    steps = tried.to(weight.dtype)[..., None]
    shown = (weight / steps.clamp(min=1e-30)).round_().clamp_(-LIMIT, LIMIT).mul_(steps)
    best = shown.sub_(weight).square_().sum(2).argmin(0)
    return tried.gather(0, best[None])[0]


def columns(layer: nn.Conv2d, x: Tensor, random: torch.Generator) -> Tensor:
    """What a layer multiplies with its weights at random places of (B, C, H, W): (P, C kh kw)."""
    found = []
    for picture in x.split(1):
        seen = F.unfold(picture, layer.kernel_size, padding=layer.padding, stride=layer.stride)[0].t()  # type: ignore[arg-type]
        found.append(seen[torch.randperm(len(seen), generator=random)[:PLACES]])
    return torch.cat(found)


def round_layer(layer: nn.Conv2d, inputs: Tensor) -> dict[str, Tensor]:
    """Rounds a layer for inputs (P, I) and returns what stands for it in a file; the layer then computes with that."""
    assert layer.bias is not None
    weight = layer.weight.flatten(1).double()
    scale = best_scale(weight)
    steps = scale.double()[:, None]
    moments = (inputs.t() @ inputs / len(inputs))[None]
    integers = compensated(moments, (weight / steps.clamp(min=1e-30)).t()[None], LIMIT)[0].t()
    error = integers * steps - weight
    bias = (layer.bias.double() - error @ inputs.double().mean(0)).half()
    layer.weight.copy_((integers * steps).view_as(layer.weight))
    layer.bias.copy_(bias)
    return {"weight": integers.to(torch.int8).view(layer.weight.shape).contiguous(), "scale": scale, "bias": bias}


def keep_layer(layer: nn.Conv2d) -> dict[str, Tensor]:
    """The same for a layer that stays float16."""
    found = {key: value.half().contiguous() for key, value in layer.state_dict().items()}
    layer.load_state_dict(found)
    return found


@torch.no_grad()
def round_networks(model: Paper, pictures: Tensor) -> dict[str, Tensor]:
    """The arrays of a model's networks for its weights file, rounded on pictures (B, 3, H, W) in [-0.5, 0.5]."""
    model = copy.deepcopy(model).eval()
    pictures = pictures.contiguous(memory_format=torch.channels_last)
    random = torch.Generator().manual_seed(0)

    def parts() -> Iterator[tuple[str, Callable[[], Tensor]]]:
        yield "encoder", lambda: model.encoder(model.encoder.features(pictures))
        features = model.encoder.features(pictures)
        yield "importance", lambda: model.importance(features)
        codes = symbols(model, pictures)[1]
        yield "decoder", lambda: model.decoder(codes)

    arrays = {}
    for part, run in parts():
        for name, layer in getattr(model, part).named_modules(prefix=part):
            if not isinstance(layer, nn.Conv2d):
                continue
            if name in FLOAT_LAYERS:
                found = keep_layer(layer)
            else:
                seen: list[Tensor] = []
                hook = layer.register_forward_pre_hook(lambda _, x, seen=seen: seen.append(x[0]))
                run()
                hook.remove()
                found = round_layer(layer, columns(layer, seen[0], random))
            arrays |= {f"{name}.{key}": value for key, value in found.items()}
    return arrays
