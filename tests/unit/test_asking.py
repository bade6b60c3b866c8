"""Which decisions an artefact has seen the outcome of, and which data it is no model of."""

from pathlib import Path

import msgspec
import numpy as np
import pytest

from bot.domain.errors import DataError
from models.artifact import load
from models.artifact_files import read_files
from models.asking import ask, seen
from models.manifest import Manifest
from models.training.labels import join_labels, returns_after, volatility_after
from models.training.panel import AssetPanel, Panel, Rows
from tests.support.tiny_artifacts import FIVE, SCHEMA, write_artifact
from tests.support.training import fold, instrument, random_walk

REACH = 3 * FIVE  # the longest horizon of the tiny artefact


@pytest.fixture(scope="module")
def manifest(tmp_path_factory: pytest.TempPathFactory) -> Manifest:
    """Return a manifest that trained in [1000, 2000), chose in [3000, 4000), calibrated in [5000, 6000), in bars."""
    made = read_files(write_artifact(tmp_path_factory.mktemp("store"))).manifest
    stretches = {"train": (1000, 2000), "validation": (3000, 4000), "test": (4400, 4600), "calibration": (5000, 6000)}
    split = msgspec.structs.replace(
        made.split, **{name: (first * FIVE, last * FIVE) for name, (first, last) in stretches.items()}
    )
    return msgspec.structs.replace(made, split=split)


@pytest.mark.parametrize(
    ("first", "last", "expected"),
    [
        (6003, 7000, []),  # the last calibrated decision's outcome is known when this one is taken
        (6002, 7000, ["calibration"]),
        (0, 997, []),  # its last outcome is known when training begins
        (0, 998, ["training"]),
        (2003, 2997, []),
        (2003, 2998, ["selection"]),
        (4300, 4700, []),  # what was tested on chose nothing
        (1500, 5500, ["training", "selection", "calibration"]),
    ],
)
def test_shared_outcomes_are_seen(manifest: Manifest, first: int, last: int, expected: list[str]) -> None:
    """A stretch is out of sample only if no outcome of it reaches into what the model was made by, or the other way."""
    assert seen(manifest, first * FIVE, last * FIVE) == expected


def panel_of(*names: str, schema_hash: str = SCHEMA.hash) -> Panel:
    assets = []
    for number, name in enumerate(names):
        bars = fold(random_walk(200, seed=number, scale_ns=FIVE, of=instrument(name)), FIVE, 3 * FIVE)
        scales = {
            scale: Rows(
                close_ns=bars[ns].close_ns,
                known_ns=bars[ns].known_ns,
                values=np.random.default_rng(number).normal(3, 2, (len(bars[ns]), 2)).astype(np.float32),
            )
            for scale, ns in (("5m", FIVE), ("15m", 3 * FIVE))
        }
        labels = join_labels(
            [
                make(bars[FIVE], bars[FIVE], horizons_ns=[FIVE, 3 * FIVE], hole_max_ns=0)
                for make in (returns_after, volatility_after)
            ]
        )
        assets.append(AssetPanel(instrument=bars[FIVE].instrument, scales=scales, labels=labels))
    return Panel(
        directory=Path(), names=SCHEMA.names, scales=("5m", "15m"), schema_hash=schema_hash, assets=tuple(assets)
    )


def test_a_model_answers_for_its_own_data_alone(tmp_path: Path) -> None:
    """Other features, other instruments or another order of them are refused by name; its own are answered."""
    loaded = load(write_artifact(tmp_path))
    for panel, words in (
        (panel_of("AAAUSDT", schema_hash="0" * 64), "was trained on features"),
        (panel_of("BBBUSDT"), "tells its instruments by number, AAAUSDT"),
        (panel_of("AAAUSDT", "BBBUSDT"), r"name the same in \[\[market.instruments\]\]"),
    ):
        with pytest.raises(DataError, match=words):
            ask(loaded, panel)
    asked = ask(loaded, panel_of("AAAUSDT"))
    rows = np.arange(len(asked.fold.samples))
    said = asked.forecasts("model", rows)
    np.testing.assert_array_equal(said.target_NH, asked.outcomes(rows, said.levels, said.horizons_ns).target_NH)
    known = asked.fold.samples.known_ns
    assert len(asked.rows_between(int(known[3]), int(known[7]))) == 4
