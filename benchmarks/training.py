"""How fast each network trains, beside what its convolutions alone would take.

Run as ``python benchmarks/training.py [--batch 32] [--threads 1] [--device cpu]
[--precision bfloat16] [--channels-last] [--recipe NAME …]``. A step is forward, loss, backward and
optimiser on spectra that are there already; "with spectra" adds the making of them. The bare
convolutions are every convolution and fully connected layer of the network, forward and backward,
one after the other on tensors of their own shapes: what no implementation on the same library can
be faster than.
"""

from __future__ import annotations

import argparse
import itertools
import time
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, nn

from harpsstar.nn.dae import Denoised
from harpsstar.nn.image import ImageNetwork
from harpsstar.nn.zoo import build
from harpsstar.train.images import Likelihood, Reconstruction, lay_out_for_training
from harpsstar.train.recipes import ImageRecipe, packaged, read_recipe
from harpsstar.train.run import network_options
from harpsstar.train.stream import stream_for
from harpsstar.train.world import World


def clock(device: torch.device) -> float:
    """Processor seconds of this process, or wall seconds of an accelerator that is done."""
    if device.type == "cuda":
        torch.cuda.synchronize()
        return time.perf_counter()
    return time.process_time()


def best_of(work: Callable[[], object], device: torch.device, repeats: int) -> float:
    """Shortest time in seconds, after a first call that fills caches."""
    work()
    times = []
    for _ in range(repeats):
        start = clock(device)
        work()
        times.append(clock(device) - start)
    return min(times)


def layers_of(network: nn.Module, run: Callable[[], object]) -> list[tuple[nn.Module, Tensor]]:
    """Convolutions and fully connected layers, each with what it is given."""
    found: list[tuple[nn.Module, Tensor]] = []
    hooks = [
        module.register_forward_pre_hook(lambda m, given: found.append((m, given[0].detach())))
        for module in network.modules()
        if isinstance(module, nn.Conv2d | nn.Linear)
    ]
    run()
    for hook in hooks:
        hook.remove()
    return found


def bare(layers: list[tuple[nn.Module, Tensor]], image: int, mixed: Any) -> Callable[[], None]:
    """Forward and backward of layers, forward alone of those that are not trained.

    The first convolution needs no gradient of its input.
    """
    inputs = [x.clone().requires_grad_(x[0].numel() != image) for _, x in layers]

    def work() -> None:
        for (module, _), x in zip(layers, inputs, strict=True):
            with mixed():
                y = module(x)
            if module.weight.requires_grad:
                y.backward(torch.ones_like(y))

    return work


def measure(recipe: ImageRecipe, options: argparse.Namespace) -> None:
    device = torch.device(options.device)
    network = build(*network_options(recipe))
    assert isinstance(network, ImageNetwork)
    network.to(device).train()
    lay_out_for_training(network, recipe, device)
    stream = stream_for(recipe, World(device))
    batches = itertools.cycle([next(stream.validation(options.batch))])

    def mixed() -> torch.autocast:
        half = options.precision == "bfloat16"
        return torch.autocast(device.type, dtype=torch.bfloat16, enabled=half)

    parts: list[tuple[str, nn.Module, nn.Module]] = [(recipe.name, network, Likelihood(network))]
    if isinstance(network, Denoised):
        network.denoiser.requires_grad_(False)
        encoder = build(*network_options(recipe))
        assert isinstance(encoder, Denoised)
        encoder.to(device)
        lay_out_for_training(encoder, recipe, device)
        parts.append((
            "  its auto-encoder", encoder.denoiser,
            Reconstruction(encoder.denoiser, encoder.image),
        ))  # fmt: skip
    for name, module, objective in parts:
        parameters = [p for p in objective.parameters() if p.requires_grad]
        optimiser = torch.optim.AdamW(parameters, lr=1e-4)

        def step(objective: nn.Module = objective, optimiser: Any = optimiser) -> None:
            with mixed():
                loss = objective(*next(batches))
            optimiser.zero_grad()
            loss.backward()
            optimiser.step()

        def forward(objective: nn.Module = objective) -> None:
            with torch.no_grad(), mixed():
                objective(*next(batches))

        whole = best_of(step, device, options.repeats)
        alone = best_of(bare(layers_of(module, forward), 8 * 4096, mixed), device, options.repeats)
        making = best_of(lambda: next(stream.validation(options.batch)), device, options.repeats)
        size = sum(p.numel() for p in module.parameters()) / 1e6
        n = options.batch
        print(
            f"{name:34s}{size:8.2f}{n / whole:10.1f}{n / (whole + making):14.1f}{n / alone:10.1f}"
            f"{whole / alone:8.2f}",
            flush=True,
        )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--batch", type=int, default=32)
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--precision", default="bfloat16", choices=["bfloat16", "float32"])
    parser.add_argument("--channels-last", action="store_true")
    rows = [name for name in packaged() if name.startswith("quick-") and name.endswith("full-20")]
    parser.add_argument("--recipe", nargs="*", default=rows)
    options = parser.parse_args()
    changes = ("optimiser.channels_last = true",) if options.channels_last else ()
    torch.set_num_threads(options.threads)
    print(f"spectra per second, {options.precision}, batches of {options.batch}, {options.device}")
    heads = ("M weights", "step", "with spectra", "bare", "ratio")
    print(f"{'':34s}{heads[0]:>8s}{heads[1]:>9s}{heads[2]:>14s}{heads[3]:>10s}{heads[4]:>8s}")
    for name in options.recipe:
        recipe = read_recipe(name, changes)
        assert isinstance(recipe, ImageRecipe), f"{name} is not of a network of images"
        measure(recipe, options)


if __name__ == "__main__":
    main()
