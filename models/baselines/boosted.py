"""Gradient boosted trees, one for each horizon and level: the baseline that networks seldom beat."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from bot.domain.errors import ConfigError, DataError
from bot.domain.market import F64
from models.baselines.base import Baseline, State

_TEXT_BYTES_MAX = 64 << 20


class LightGbm(Baseline):
    """LightGBM's quantile objective, deterministic; quantiles of separate trees may cross, so they are sorted.

    Outcomes are divided by their deviation before fitting: the objective's step does not know its units.

    Args:
        trees: boosting rounds.
        leaves: of a tree.
        rate: what each tree counts for.
        leaf_rows_min: decisions in a leaf; overlapping outcomes want many.
        threads: of LightGBM; the result does not depend on them.

    Raises:
        ConfigError: a setting is impossible, or LightGBM is not installed.
    """

    name = "lightgbm"

    def __init__(
        self,
        *,
        horizons: int,
        levels: Sequence[float],
        trees: int = 200,
        leaves: int = 15,
        rate: float = 0.05,
        leaf_rows_min: int = 100,
        threads: int = 1,
        seed: int = 0,
    ) -> None:
        super().__init__(horizons=horizons, levels=levels)
        ranges = {"trees": (trees, 10_000), "leaves": (leaves, 4096), "leaf_rows_min": (leaf_rows_min, 1 << 30)}
        for name, (value, most) in ranges.items():
            if not 1 + (name == "leaves") <= value <= most:
                raise ConfigError(f"{self.name}: {name} = {value} must be up to {most}, and above 0 (leaves: 1)")
        if not 0 < rate <= 1 or not 1 <= threads <= 256 or not 0 <= seed < 1 << 31:
            raise ConfigError(f"{self.name}: rate = {rate}, threads = {threads} or seed = {seed} cannot be")
        self.trees = trees
        self._settings = {
            "objective": "quantile",
            "num_leaves": leaves,
            "learning_rate": rate,
            "min_data_in_leaf": leaf_rows_min,
            "num_threads": threads,
            "seed": seed,
            "deterministic": True,
            "force_row_wise": True,
            "verbosity": -1,
        }
        self._library = _library()
        self._boosters: list[Any] = []

    def _fit(self, x_NF: F64, targets_NH: F64, weights_N: F64, log_volatility_NH: F64 | None) -> State:
        texts: list[bytes] = []
        units = []
        for known, y, w in self._each(targets_NH, weights_N):
            unit = max(float(np.sqrt(np.average(y**2, weights=w))), 1e-300)
            units.append(unit)
            for level in self.levels:
                settings = self._settings | {"alpha": level}
                rows = self._library.Dataset(x_NF[known], label=y / unit, weight=w, params=settings)
                booster = self._library.train(settings, rows, num_boost_round=self.trees)
                texts.append(booster.model_to_string().encode())
        ends = np.cumsum([len(text) for text in texts])
        state: State = {
            "text": np.frombuffer(b"".join(texts), dtype=np.uint8),
            "ends": ends.astype(np.int64),
            "unit_H": np.array(units),
        }
        self._accept(state)  # what answers is what was kept, now and after it was loaded
        return state

    def _predict(self, x_NF: F64) -> F64:
        made = np.empty((len(x_NF), self.horizons, len(self.levels)))
        for number, booster in enumerate(self._boosters):
            horizon, level = divmod(number, len(self.levels))
            unit = self._state["unit_H"][horizon]
            made[:, horizon, level] = unit * booster.predict(x_NF, num_threads=self._settings["num_threads"])
        return np.sort(made, axis=2)

    def _shapes(self, features: int) -> dict[str, tuple[tuple[int, ...], Any]]:
        count = self.horizons * len(self.levels)
        return {
            "text": ((-1,), np.uint8),
            "ends": ((count,), np.int64),
            "unit_H": ((self.horizons,), np.float64),
        }

    def _accept(self, state: Mapping[str, NDArray[Any]]) -> None:
        text, ends = state["text"].tobytes(), state["ends"]
        if len(text) > _TEXT_BYTES_MAX or (np.diff(ends, prepend=0) <= 0).any() or int(ends[-1]) != len(text):
            raise DataError(f"{self.name}: the trees' text is cut in places that cannot be")
        boosters = []
        for start, stop in zip([0, *ends[:-1]], ends, strict=True):
            try:
                boosters.append(self._library.Booster(model_str=text[start:stop].decode("ascii")))
            except (self._library.basic.LightGBMError, UnicodeError) as error:
                raise DataError(f"{self.name}: the text of a tree cannot be read: {error}") from error
        self._boosters = boosters


def _library() -> Any:
    try:
        import lightgbm
    except ImportError as error:
        raise ConfigError("lightgbm is not installed; install it, or leave this baseline out") from error
    return lightgbm
