"""The causal system: every stream encoded without looking ahead, and fused at each decision with what is known then.

One pass over a stretch answers at every decision in it, for training and replay; `prefill` and `step` say the same from
what they remember, for live trading. They share every weight with `forward` and agree with it to rounding.

What makes that exact: an encoder's token never changes once its bar has closed, a decision sees tokens by the time they
were known, and of each stream's tokens only the `recent` newest, which is all that a stream state needs to keep.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from bot.domain.errors import ConfigError, DataError
from models.bar_encoder import EncoderState
from models.config import ModelConfig, ScaleConfig
from models.inputs import NEVER_NS, ModelInput, ScaleInput
from models.memory import Memory, asof, take_asof
from models.output import ModelOutput
from models.systems.base import AssetEmbedding, ScaleEncoders, System, one_scale, one_width
from models.systems.fusing import ScaleFusion

# Shape letters in this file: B row, T decision, M token of a stream, D width.


@dataclass(kw_only=True, slots=True, eq=False)
class StreamState:
    """What a system remembers of one stream of every row."""

    encoder: EncoderState
    tail: Memory | None = None  # the newest tokens; None before the first bar
    count: int = 0  # bars seen
    close_ns_B: Tensor | None = None  # of the newest


class CausalSystem(System):
    """A streaming network over one scale or several; the first is the one whose bars are decided at.

    Args:
        optional: streams that may be missing from an input; a learned token stands for what is not known of one.

    Raises:
        ConfigError: an encoder looks ahead, or attention over the streams has no `recent`.
    """

    def __init__(self, cfg: ModelConfig, *, optional: Sequence[str] = ()) -> None:
        width = one_width(cfg)
        super().__init__(cfg, width)
        self.encoders = ScaleEncoders(cfg.scales)
        self.optional = tuple(optional)
        self.assets = AssetEmbedding(width)
        for scale in cfg.scales:
            if self.encoders.of(scale.bar).streams == "none":
                raise ConfigError(
                    f"{cfg.system}: {scale.bar}: the encoder looks ahead, or normalises by its window; set causal = "
                    'true and in_norm to "none" or "ewma"'
                )
        self.fusion: ScaleFusion | None = None
        fusion = cfg.fusion
        if fusion is None or fusion.kind == "none":
            one_scale(cfg)
            return
        if fusion.kind.startswith("cross") and fusion.recent is None:
            raise ConfigError(f"{cfg.system}: FusionConfig.recent must say how many newest tokens a decision sees")
        if optional and (fusion.absent != "token" or fusion.kind != "cross"):
            raise ConfigError(f'{cfg.system}: streams may be missing, so fusion needs kind = "cross", absent = "token"')
        self.fusion = ScaleFusion(fusion, bars=self.encoders.bars, queries=1, width=width)

    @property
    def warm_up(self) -> dict[str, int]:
        """Return how many bars of each stream a decision must know: then all before them make no difference.

        The oldest token that attention sees must have had its own history.
        """
        need = {}
        for scale in self.cfg.scales:
            need[scale.bar] = max(scale.length, self.encoders.of(scale.bar).receptive_field or 0)
            if self.fusion is not None and self.fusion.cross is not None and scale.bar in self.fusion.tags:
                need[scale.bar] += (self.fusion.cross.recent or 1) - 1
        return need

    def forward(self, inputs: ModelInput) -> ModelOutput:
        memories, need = [], self.warm_up
        for scale in self.cfg.scales:
            given = self._given(inputs, scale, need[scale.bar])
            if given is None:
                memories.append(_nothing(scale, inputs.decision_ns_BT, self._like()))
                continue
            tokens = self.encoders.of(scale.bar)(given.x_BLF, given.close_ns_BL, given.padding)
            memories.append(Memory(tag=scale.bar, tokens_BMD=tokens, known_ns_BM=given.seen_ns_BL))
        return self.decide(memories, inputs.decision_ns_BT, inputs.asset_B)

    def start(self, rows: int) -> dict[str, StreamState]:
        """Return the state of `rows` instruments, whose bars close together, of which nothing has been seen."""
        return {bar: StreamState(encoder=self.encoders.of(bar).start(rows)) for bar in self.encoders.bars}

    @torch.no_grad()
    def prefill(self, inputs: ModelInput, state: Mapping[str, StreamState]) -> ModelOutput:
        """Return the answers at the decisions of a stretch that follows what `state` has seen, and remember its bars.

        A stream without new bars is left out of `inputs`. After an error the state is not to be used again.

        Raises:
            DataError: a decision lacks history, or a bar does not follow those before.
            ValueError: there is padding, or the system is in training mode.
        """
        memories, need = [], self.warm_up
        for scale in self.cfg.scales:
            seen, given = state[scale.bar], inputs.scales.get(scale.bar)
            if given is not None:
                self._remember(scale, seen, given)
            memory = seen.tail or _nothing(scale, inputs.decision_ns_BT, self._like())
            if scale.bar not in self.optional:
                known = int(asof(memory, inputs.decision_ns_BT).min()) + 1 + seen.count - memory.known_ns_BM.shape[1]
                if seen.tail is None or known < need[scale.bar]:
                    known = 0 if seen.tail is None else known
                    raise DataError(f"{scale.bar}: a decision knows {known} bars of it and needs {need[scale.bar]}")
            memories.append(memory)
        made = self.decide(memories, inputs.decision_ns_BT, inputs.asset_B)
        self._forget(state, inputs.decision_ns_BT[:, -1:])
        return made

    @torch.no_grad()
    def absorb(self, bars: Mapping[str, ScaleInput], state: Mapping[str, StreamState]) -> None:
        """Remember bars that closed between two decisions, so that the next one has less to do; see `prefill`."""
        for scale in self.cfg.scales:
            if scale.bar in bars:
                self._remember(scale, state[scale.bar], bars[scale.bar])

    def step(
        self,
        bars: Mapping[str, ScaleInput],
        decision_ns_B: Tensor,
        state: Mapping[str, StreamState],
        asset_B: Tensor | None = None,
    ) -> ModelOutput:
        """Return the answer [B, 1, ...] after the bars that have just closed, of whichever streams; see `prefill`."""
        return self.prefill(ModelInput(scales=bars, decision_ns_BT=decision_ns_B[:, None], asset_B=asset_B), state)

    def _given(self, inputs: ModelInput, scale: ScaleConfig, count: int) -> ScaleInput | None:
        if scale.bar in self.optional:
            return inputs.scales.get(scale.bar)
        return inputs.need(scale.bar, count)

    def _remember(self, scale: ScaleConfig, seen: StreamState, given: ScaleInput) -> None:
        if given.padding is not None:
            raise ValueError(f"{scale.bar}: a state takes whole rows; leave the padding out")
        if seen.close_ns_B is not None and bool((given.close_ns_BL[:, 0] <= seen.close_ns_B).any()):
            raise DataError(f"{scale.bar}: a bar closes no later than the one before it; give each bar once, in order")
        tokens = self.encoders.of(scale.bar).prefill(given.x_BLF, given.close_ns_BL, seen.encoder)
        known = given.known_ns_BL
        if seen.tail is not None:
            tokens = torch.cat([seen.tail.tokens_BMD, tokens], dim=1)
            known = torch.cat([seen.tail.known_ns_BM, known], dim=1)
        seen.tail = Memory(tag=scale.bar, tokens_BMD=tokens, known_ns_BM=known)
        seen.count += given.x_BLF.shape[1]
        seen.close_ns_B = given.close_ns_BL[:, -1]

    def _forget(self, state: Mapping[str, StreamState], last_ns_B1: Tensor) -> None:
        """Keep of every stream what a later decision may see: the newest tokens, and those that are not known yet."""
        recent = 1 if self.cfg.fusion is None else self.cfg.fusion.recent or 1
        for seen in state.values():
            if seen.tail is None:
                continue
            known = seen.tail.known_ns_BM
            keep = recent + int((known > last_ns_B1).sum(dim=1).max())
            if known.shape[1] > keep:
                tokens = seen.tail.tokens_BMD[:, -keep:].clone()  # a view would hold on to the whole stretch
                seen.tail = Memory(tag=seen.tail.tag, tokens_BMD=tokens, known_ns_BM=known[:, -keep:].clone())

    def decide(self, memories: Sequence[Memory], decision_ns_BT: Tensor, asset_B: Tensor | None = None) -> ModelOutput:
        """Return the answers at decisions that know these tokens, one memory a stream in order; see `encoders`.

        For those who keep the states of many instruments themselves, because their bars do not come together.
        """
        query_BTD = self.assets(take_asof(memories[0], decision_ns_BT), asset_B)
        if self.fusion is None:
            return self.answer(query_BTD)
        newest = None
        if self.fusion.gates is not None:
            newest = torch.stack([query_BTD, *(take_asof(each, decision_ns_BT) for each in memories[1:])], dim=2)
        h_BTD, importance = self.fusion(query_BTD[:, :, None], newest, memories, decision_ns_BT)
        return self.answer(h_BTD, importance)

    def _like(self) -> Tensor:
        return self.assets.table.weight


def _nothing(scale: ScaleConfig, decision_ns_BT: Tensor, like: Tensor) -> Memory:
    """Return a stream of which nothing is ever known."""
    rows = len(decision_ns_BT)
    return Memory(
        tag=scale.bar,
        tokens_BMD=like.new_zeros(rows, 1, scale.encoder.width),
        known_ns_BM=torch.full((rows, 1), NEVER_NS, device=decision_ns_BT.device),
    )
