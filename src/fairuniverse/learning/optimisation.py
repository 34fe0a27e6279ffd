"""Training of a network: seeded mini-batches, AdamW, a learning-rate schedule, the best weights kept."""

from __future__ import annotations

import copy
import sys
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
from numpy.typing import NDArray

from fairuniverse.errors import FitError, InvalidDataError

if TYPE_CHECKING:
    import torch
    from torch import Tensor

_VALIDATION_SHARE = 0.1
_VALIDATION_BATCH = 1 << 16
_MAX_GRADIENT = 5.0
"""Norm at which gradients are clipped: one unlucky batch must not undo an epoch."""


@dataclass(frozen=True)
class History:
    """How a training went.

    Attributes:
        training: Mean loss of the batches of each epoch.
        validation: Loss of the validation events after each epoch.
        best_epoch: Epoch whose weights were kept, from 0.
    """

    training: tuple[float, ...]
    validation: tuple[float, ...]
    best_epoch: int


def binary_cross_entropy(network: torch.nn.Module, x: Tensor, target: Tensor) -> Tensor:
    """Loss of each event of a network with one logit; targets from 0 to 1, shape (n,)."""
    from torch.nn import functional

    logits = network(x).squeeze(1)
    return functional.binary_cross_entropy_with_logits(logits, target.to(logits.dtype), reduction="none")


def cross_entropy(network: torch.nn.Module, x: Tensor, target: Tensor) -> Tensor:
    """Loss of each event of a network with one logit per class; targets are class numbers, shape (n,)."""
    from torch.nn import functional

    return functional.cross_entropy(network(x), target.long(), reduction="none")


def train_network(
    network: torch.nn.Module,
    data: Sequence[NDArray[Any]],
    loss: Callable[..., Tensor],
    *,
    seed: int,
    weights: NDArray[np.floating] | None = None,
    is_validation: NDArray[np.bool_] | None = None,
    n_epochs: int = 20,
    batch_size: int = 1024,
    learning_rate: float = 3e-3,
    weight_decay: float = 1e-4,
    schedule: Literal["one_cycle", "cosine"] = "one_cycle",
    patience: int | None = None,
    device: str = "cpu",
    title: str = "training",
) -> History:
    """Train a network in place; it ends with the weights of its best epoch, on the CPU.

    Run it inside `deterministic` and the same arguments give the same bits on a CPU.

    Args:
        network: What to train; all its parameters that require a gradient.
        data: Arrays with one row per event; a batch of each is handed to the loss.
        loss: Function of (network, *batch): a loss per event, shape (n,), of which the weighted mean is
            taken, or a single number for losses of a whole batch, without `weights`.
        seed: Decides the order of the events and, where not given, which validate.
        weights: Weight of each event in the loss, shape (n_events,).
        is_validation: Which events validate, shape (n_events,); by default one in ten, by chance. Give it
            where rows belong together, such as shifted copies of one event.
        n_epochs: Passes over the training events.
        batch_size: Events per step.
        learning_rate: The schedule's highest rate.
        weight_decay: AdamW's (Loshchilov and Hutter, arXiv:1711.05101).
        schedule: ``"one_cycle"`` rises and falls (Smith and Topin, arXiv:1708.07120), ``"cosine"`` falls.
        patience: Stop after so many epochs without a better one; None goes on to the end.
        device: Where to train, ``"cpu"`` or ``"cuda"``.
        title: Name in the progress line, shown where standard error is a terminal.

    Raises:
        InvalidDataError: Arrays of different lengths, no event to train on or none to validate.
        FitError: The loss is not finite, at once or in every epoch.
    """
    import torch

    n = _common_length(data, weights, is_validation)
    generator = torch.Generator().manual_seed(seed)
    if is_validation is None:
        is_validation = (torch.rand(n, generator=generator) < _VALIDATION_SHARE).numpy()
    training, validating = (torch.from_numpy(np.flatnonzero(m)) for m in (~is_validation, is_validation))
    if not len(training) or not len(validating):
        raise InvalidDataError(
            f"{len(training)} events to train and {len(validating)} to validate: give some of both"
        )
    network.to(device)
    objective = _Objective(network, loss, data, weights, device)
    parameters = [p for p in network.parameters() if p.requires_grad]
    optimizer = torch.optim.AdamW(parameters, learning_rate, weight_decay=weight_decay)
    n_steps = n_epochs * -(-len(training) // batch_size)
    scheduler = _scheduler(schedule, optimizer, learning_rate, n_steps)
    network.train()
    history: list[tuple[float, float]] = []
    best, best_weights, best_epoch = np.inf, copy.deepcopy(network.state_dict()), -1
    for epoch in _epochs(n_epochs, title, history):
        total = 0.0
        order = training[torch.randperm(len(training), generator=generator)]
        for rows in torch.split(order, batch_size):
            optimizer.zero_grad(set_to_none=True)
            value = objective(rows)
            value.backward()  # type: ignore[no-untyped-call]
            torch.nn.utils.clip_grad_norm_(parameters, _MAX_GRADIENT)
            optimizer.step()
            scheduler.step()
            total += float(value.detach()) * len(rows)
        history.append((total / len(training), objective.validate(validating)))
        if history[-1][1] < best:
            best, best_weights, best_epoch = history[-1][1], copy.deepcopy(network.state_dict()), epoch
        elif patience is not None and epoch - best_epoch >= patience:
            break
    if best_epoch < 0:
        raise FitError(f"{title}: the loss was never finite; lower the learning rate and check the inputs")
    network.load_state_dict(best_weights)
    network.to("cpu").eval()
    train_losses, validation_losses = zip(*history, strict=True)
    return History(train_losses, validation_losses, best_epoch)


class _Objective:
    """Weighted mean loss of chosen events, everything being on one device."""

    def __init__(
        self,
        network: torch.nn.Module,
        loss: Callable[..., Tensor],
        data: Sequence[NDArray[Any]],
        weights: NDArray[np.floating] | None,
        device: str,
    ) -> None:
        import torch

        self._network, self._loss, self._device = network, loss, device
        self._data = [torch.from_numpy(np.ascontiguousarray(a)).to(device) for a in data]
        self._weights: Tensor | None = None
        if weights is not None:
            mean_one = np.asarray(weights / weights.mean(), dtype=np.float32)
            self._weights = torch.from_numpy(mean_one).to(device)

    def __call__(self, rows: Tensor) -> Tensor:
        rows = rows.to(self._device)
        losses = self._loss(self._network, *(t[rows] for t in self._data))
        if self._weights is None:
            return losses.mean()
        if losses.ndim == 0:
            raise InvalidDataError("this loss gives one number per batch: weigh the events in it yourself")
        return (losses * self._weights[rows]).mean()

    def validate(self, rows: Tensor) -> float:
        """Mean loss without gradients, in evaluation mode; training mode afterwards."""
        import torch

        self._network.eval()
        with torch.no_grad():
            parts = [float(self(r)) * len(r) for r in torch.split(rows, _VALIDATION_BATCH)]
        self._network.train()
        return sum(parts) / len(rows)


def _common_length(
    data: Sequence[NDArray[Any]], weights: NDArray[np.floating] | None, mask: NDArray[np.bool_] | None
) -> int:
    lengths = [len(a) for a in (*data, weights, mask) if a is not None]
    if len(set(lengths)) != 1:
        raise InvalidDataError(f"arrays of {lengths} rows: give one row per event in each")
    return lengths[0]


def _scheduler(
    schedule: str, optimizer: torch.optim.Optimizer, learning_rate: float, n_steps: int
) -> torch.optim.lr_scheduler.LRScheduler:
    from torch.optim import lr_scheduler

    if schedule == "one_cycle":
        return lr_scheduler.OneCycleLR(optimizer, max_lr=learning_rate, total_steps=n_steps)
    return lr_scheduler.CosineAnnealingLR(optimizer, n_steps)


def _epochs(n_epochs: int, title: str, history: Sequence[tuple[float, float]]) -> Iterator[int]:
    """Numbers of the epochs, with a progress line where somebody watches."""
    from tqdm import tqdm

    with tqdm(total=n_epochs, desc=title, unit="epoch", leave=False, disable=not sys.stderr.isatty()) as bar:
        for epoch in range(n_epochs):
            yield epoch
            bar.set_postfix(validation=f"{history[-1][1]:.5f}", refresh=False)
            bar.update()
