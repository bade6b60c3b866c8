"""One artefact's network, asked for blocks of decisions: arrays in, log returns and named answers out."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from bot.core.durations import parse_duration
from bot.domain.errors import DataError
from bot.domain.market import F64
from models.answers import quantiles_of
from models.artifact import Loaded, load
from models.inputs import ModelInput, ScaleInput
from models.normalizer import F32, Normalizers
from models.output import ModelOutput
from models.serving.rows import Block, cut_windows
from models.serving.told import Told, told_of
from models.training.segments import ScaleArrays

# Shape letters in this file: N decision, H horizon, Q level, A answer, S scale, T place in a block.


@dataclass(frozen=True, kw_only=True, slots=True, eq=False)
class Answers:
    """What a network says at some decisions, as numbers of the market."""

    quantiles_NHQ: F64  # of the log return; offsets applied
    named_NA: F64  # in the order of `Told.answer_names`
    importance_NS: F64  # in the order of `Told.scales`

    def pick(self, rows: np.ndarray) -> "Answers":
        """Return some rows."""
        return Answers(
            quantiles_NHQ=self.quantiles_NHQ[rows],
            named_NA=self.named_NA[rows],
            importance_NS=self.importance_NS[rows],
        )


class Engine:
    """A loaded artefact that answers blocks.

    One row of a block never depends on what another holds: all passes have one shape, and a place that is not known
    yet is masked. So a block asked for again with more in it says the same, bit for bit, of what was there before.
    """

    def __init__(self, loaded: Loaded, *, threads: int = 1) -> None:
        self.told: Told = told_of(loaded.name, loaded.manifest)
        self.model = loaded.model
        self.normalizers: Normalizers = loaded.normalizers
        self.device = next(loaded.model.parameters()).device
        self._threads = threads
        self._horizons = [loaded.manifest.labels.horizons_ns.index(each) for each in self.told.horizons_ns]
        self._columns = _Columns(loaded)

    def normalize(self, bar: str, values_NF: F32) -> F32:
        """Return features as the network reads them."""
        return self.normalizers[bar].apply(values_NF)

    def unit_at(self, values_NF: F32) -> F64:
        """Return [N, H of the labels], the unit at decisions, of the decision scale's features as computed."""
        return self.told.unit.read(self.told.schema.names, values_NF)

    def ask(self, block: Block, asset: int, unit_TH: F64) -> Answers:
        """Return the answers at every place of a block; what is said at places that are not answerable means nothing.

        Args:
            unit_TH: the unit of the labels' horizons at each place, anything where there is no decision.
        """
        is_windows = self.told.how == "windows"
        arrays = cut_windows(block, self.told) if is_windows else block.scales
        times_BT = block.decision_ns_T[:, None] if is_windows else block.decision_ns_T[None]
        return self.ask_arrays(arrays, times_BT, asset, unit_TH)

    @torch.no_grad()
    def ask_arrays(self, arrays: Mapping[str, ScaleArrays], times_BT: np.ndarray, asset: int, unit_NH: F64) -> Answers:
        """Return the answers at all decisions of some rows of bars, one after another."""
        torch.set_num_threads(self._threads)  # another number may round otherwise
        output: ModelOutput = self.model(self._inputs(arrays, times_BT, asset))
        said = {name: value.reshape(-1, *value.shape[2:]) for name, value in output.asked().items()}
        flat = ModelOutput(**said)  # type: ignore[arg-type]  # `aux` is not among them
        return self.answers(flat, unit_NH)

    def answers(self, output: ModelOutput, unit_NH: F64) -> Answers:
        """Return what a network says [N, ...], in units, as numbers of the market."""
        told = self.told
        rows = len(unit_NH)
        if told.horizons_ns:
            in_units = _numpy(quantiles_of(output, told.residual))
            quantiles = in_units * unit_NH[:, self._horizons, None]
            if told.offsets is not None:
                quantiles = told.offsets.apply(quantiles)
        else:
            quantiles = np.empty((rows, 0, 0))
        if output.importance is not None:
            importance = _numpy(output.importance)
        else:
            importance = np.full((rows, len(told.scales)), 1 / len(told.scales))
        return Answers(quantiles_NHQ=quantiles, named_NA=self._columns.of(output, unit_NH), importance_NS=importance)

    def _inputs(self, arrays: Mapping[str, ScaleArrays], times_BT: np.ndarray, asset: int) -> ModelInput:
        rows = len(times_BT)
        return ModelInput(
            scales={
                name: ScaleInput(
                    x_BLF=torch.from_numpy(each.values_BLF).to(self.device),
                    close_ns_BL=torch.from_numpy(each.close_ns_BL).to(self.device),
                    known_ns_BL=torch.from_numpy(each.known_ns_BL).to(self.device),
                )
                for name, each in arrays.items()
            },
            decision_ns_BT=torch.from_numpy(np.ascontiguousarray(times_BT)).to(self.device),
            asset_B=torch.full((rows,), asset, dtype=torch.int64, device=self.device),
        )


class _Columns:
    """The named answers of all heads, in their order."""

    def __init__(self, loaded: Loaded) -> None:
        labels = loaded.manifest.labels.horizons_ns
        self._heads = [
            (head, [labels.index(parse_duration(each)) for each in head.horizons])
            for head in loaded.manifest.model.config.heads
        ]

    def of(self, output: ModelOutput, unit_NH: F64) -> F64:
        parts: list[F64] = [np.empty((len(unit_NH), 0))]
        for head, at in self._heads:
            match head.kind:
                case "direction":
                    parts.append(_numpy(torch.sigmoid(_given(output.dir_logit, head.kind).double())))
                case "volatility":
                    parts.append(np.exp(_numpy(_given(output.log_volatility, head.kind))) * unit_NH[:, at])
                case "signal3":
                    shares = torch.softmax(_given(output.signal_logit, head.kind).double(), dim=-1)
                    parts.append(_numpy(shares.flatten(1)))
                case "regime":
                    parts.append(_numpy(torch.softmax(_given(output.regime_logit, head.kind).double(), dim=-1)))
                case "risk":
                    losses = _numpy(_given(output.value_at_risk, head.kind)) * unit_NH[:, at, None]
                    parts.append(losses.reshape(len(unit_NH), -1))
                case "drawdown":
                    falls = _numpy(_given(output.drawdown, head.kind)) * unit_NH[:, at, None]
                    parts.append(falls.reshape(len(unit_NH), -1))
                case "allocation":
                    parts.append(_numpy(_given(output.weights, head.kind))[:, :1])
        return np.concatenate(parts, axis=1)


def open_engine(
    path: Path,
    *,
    threads: int = 1,
    device: str = "cpu",
    trusted: frozenset[str] | None = None,
    now_ns: int | None = None,
) -> Engine:
    """Return an artefact that has passed every check, ready to answer.

    Raises:
        DataError: it is refused; the message says by which check. ConfigError: nothing here feeds it.
    """
    torch.set_num_threads(threads)
    return Engine(load(path, device=device, trusted=trusted, now_ns=now_ns), threads=threads)


def _numpy(tensor: Tensor) -> F64:
    made: F64 = tensor.detach().double().cpu().numpy()
    return made


def _given(tensor: Tensor | None, kind: str) -> Tensor:
    if tensor is None:
        raise DataError(f"the model has a {kind} head and gives no such answer")
    return tensor
