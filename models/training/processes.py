"""One process or several that train together, as torchrun starts them."""

from collections.abc import Mapping
from dataclasses import dataclass

import torch
import torch.distributed as dist
from torch import Tensor

from bot.domain.errors import ConfigError


@dataclass(frozen=True, kw_only=True, slots=True)
class Processes:
    """Who trains: one of `world` processes, the `rank`-th."""

    rank: int = 0
    world: int = 1

    @property
    def is_first(self) -> bool:
        """Return whether this one writes files and speaks."""
        return self.rank == 0

    def total(self, value: Tensor) -> Tensor:
        """Return the sum over all processes."""
        if self.world > 1:
            dist.all_reduce(value)
        return value

    def any(self, flag: bool) -> bool:
        """Return whether one of them says so; all get the same answer at the same step."""
        return flag if self.world == 1 else bool(self.total(torch.tensor(int(flag))))

    def gather(self, value: Tensor) -> list[Tensor]:
        """Return every process's value, by rank."""
        if self.world == 1:
            return [value]
        parts = [torch.empty_like(value) for _ in range(self.world)]
        dist.all_gather(parts, value)
        return parts

    def leave(self) -> None:
        """End what joins the processes."""
        if self.world > 1:
            dist.destroy_process_group()


def join_processes(environment: Mapping[str, str], *, on_gpu: bool) -> Processes:
    """Return this process among those that torchrun started; a single one where it did not.

    Raises:
        ConfigError: the variables that torchrun sets are not numbers.
    """
    if "WORLD_SIZE" not in environment:
        return Processes()
    try:
        rank, world = int(environment["RANK"]), int(environment["WORLD_SIZE"])
    except (KeyError, ValueError) as error:
        raise ConfigError("RANK and WORLD_SIZE do not tell who trains; start with torchrun, or unset them") from error
    if world > 1:
        dist.init_process_group("cpu:gloo,cuda:nccl" if on_gpu else "gloo", rank=rank, world_size=world)
    return Processes(rank=rank, world=world)
