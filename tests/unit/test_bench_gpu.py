"""What is ready to measure on a GPU runs, here on a CPU at sizes that tell nothing about speed."""

import msgspec
import pytest
import torch

from benchmarks import bench_gpu
from benchmarks.run import gpu_figures
from tests.support.systems import CONFIGS


@pytest.mark.parametrize("case", ["causal", "window", "train"])
def test_the_chosen_kernel_stands_beside_all_that_can(case: bench_gpu.Case, monkeypatch: pytest.MonkeyPatch) -> None:
    uncompiled = [name for name in bench_gpu.kernels() if name != "flex"]
    monkeypatch.setattr(bench_gpu, "kernels", lambda: uncompiled)
    found = bench_gpu.attention(24, 64, case, device="cpu", tokens=48)
    assert 0 < found["best"] <= 100
    assert "reference" in found["name"]
    assert "attention, " + case in found["name"]


@pytest.mark.soak
def test_a_forecast_is_timed_from_memory_to_memory() -> None:
    found = bench_gpu.forecast(2, device="cpu", config=CONFIGS["flagship"], calls=10)
    assert found["best"] > 0


@pytest.mark.parametrize("recompute", [False, True])
def test_a_step_of_training(recompute: bool) -> None:
    found = bench_gpu.train(CONFIGS["migt"], 3, device="cpu", recompute=recompute)
    assert found["name"].startswith("migt, a step of 3 x 13 bars")
    assert ("recomputed" in found["name"]) is recompute


def test_the_sizes_are_the_sources() -> None:
    """128 windows of 24 variables by 288 bars at width 256: what the goals of memory and time are about."""
    config = bench_gpu.preset("migt-full", {"5m": bench_gpu.VARIABLES})
    scale = config.scales[0]
    assert (len(scale.encoder.features), scale.length, scale.encoder.width) == (24, 288, 256)
    assert msgspec.to_builtins(scale.encoder)["block"]["attn"]["d"] == 64


@pytest.mark.skipif(torch.cuda.is_available(), reason="there is a GPU")
def test_without_a_gpu_it_says_so(capsys: pytest.CaptureFixture[str]) -> None:
    assert gpu_figures(bench_gpu.TRAIN) == []
    assert "torch sees no GPU here; nothing was measured" in capsys.readouterr().err
