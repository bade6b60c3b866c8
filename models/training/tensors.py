"""From gathered batches to what networks and losses read."""

import torch
from torch import Tensor

from models.inputs import ModelInput, ScaleInput
from models.training.segments import Segments


def model_input(segments: Segments, *, device: torch.device | str = "cpu", with_assets: bool = True) -> ModelInput:
    """Return a batch as a network reads it."""
    return ModelInput(
        scales={
            name: ScaleInput(
                x_BLF=torch.from_numpy(arrays.values_BLF).to(device),
                close_ns_BL=torch.from_numpy(arrays.close_ns_BL).to(device),
                known_ns_BL=torch.from_numpy(arrays.known_ns_BL).to(device),
            )
            for name, arrays in segments.scales.items()
        },
        decision_ns_BT=torch.from_numpy(segments.decision_ns_BT).to(device),
        asset_B=torch.from_numpy(segments.asset_B).to(device) if with_assets else None,
    )


def targets_of(segments: Segments, *, device: torch.device | str = "cpu") -> Tensor:
    """Return the targets [B, T, K]."""
    return torch.from_numpy(segments.targets_BTK).to(device)


def weights_of(segments: Segments, *, device: torch.device | str = "cpu") -> Tensor:
    """Return what each decision counts [B, T]."""
    return torch.from_numpy(segments.weights_BT).to(device)
