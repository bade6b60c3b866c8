"""What flash attention computes, graphs without breaks, and every system in the trials of the future."""

import math

import pytest
import torch
from torch import Tensor

from models.export import trace
from models.registry import entries
from tests.support.served import SERVED
from tests.support.systems import CONFIGS, STREAMING, inputs, system

BATCHES = (1, 3)


def _in_blocks(q_Ld: Tensor, k_Md: Tensor, v_Md: Tensor, size: int) -> Tensor:
    """Return attention with one block of keys in hand at a time: flash attention's recurrence."""
    scale = 1 / math.sqrt(q_Ld.shape[1])
    most_L = q_Ld.new_full((len(q_Ld),), -math.inf)
    total_L, sum_Ld = torch.zeros_like(most_L), torch.zeros_like(q_Ld)
    for start in range(0, len(k_Md), size):
        scores = q_Ld @ k_Md[start : start + size].T * scale
        higher_L = torch.maximum(most_L, scores.amax(dim=1))
        shrink_L, weights = torch.exp(most_L - higher_L), torch.exp(scores - higher_L[:, None])
        total_L = total_L * shrink_L + weights.sum(dim=1)
        sum_Ld = sum_Ld * shrink_L[:, None] + weights @ v_Md[start : start + size]
        most_L = higher_L
    return sum_Ld / total_L[:, None]


@pytest.mark.parametrize("size", [1, 7, 64, 500])
def test_softmax_in_blocks_is_softmax(size: int) -> None:
    """However keys are cut into blocks, sums that are rescaled by the greatest score so far are the softmax."""
    draws = torch.Generator().manual_seed(size)
    q, k, v = (torch.randn(count, 16, dtype=torch.float64, generator=draws) for count in (20, 100, 100))
    q[0] *= 300  # scores whose exponentials overflow unless the greatest is taken off
    whole = torch.softmax(q @ k.T / 4, dim=1) @ v
    torch.testing.assert_close(_in_blocks(q, k, v, size), whole, rtol=1e-12, atol=1e-12)


@pytest.mark.parametrize(
    "name", ["dlinear", *(pytest.param(name, marks=pytest.mark.soak) for name in CONFIGS if name != "dlinear")]
)
def test_systems_are_one_graph_and_compile_once_for_each_batch(name: str) -> None:
    """A system is traced without a break; compiled, each size of batch costs one graph, and none is made again."""
    model, graphs = system(name), []
    for rows in BATCHES:
        given = inputs(name, rows=rows)
        traced = trace(model, [given])
        torch._dynamo.reset()

        def count(graph: torch.fx.GraphModule, example: list[Tensor]) -> torch.fx.GraphModule:
            graphs.append(len(example))
            return graph

        compiled = torch.compile(traced.program.module(), backend=count, fullgraph=True, dynamic=False)
        with torch.no_grad():
            for seed in (0, 1):
                other = inputs(name, rows=rows, seed=seed)
                made = compiled(*traced.flat.pack(other))
                for mine, theirs in zip(made, model(other).asked().values(), strict=True):
                    torch.testing.assert_close(mine, theirs, rtol=1e-5, atol=1e-6)
    torch._dynamo.reset()
    assert len(graphs) == len(BATCHES)


def test_every_system_is_in_the_trials() -> None:
    """Each registered system has a tiny configuration, and one harness at least that changes its future."""
    tried = {CONFIGS[name].system for name in (*STREAMING, *SERVED)}
    assert {entry.name for entry in entries()} == {config.system for config in CONFIGS.values()} == tried
