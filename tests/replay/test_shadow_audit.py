"""The audit of a run's shadow: judged by the run's prices, beside the model that was traded, and never a forgery."""

import json
import sqlite3
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
import pytest
from typer.testing import CliRunner

from bot.app.shadow_audit import SERVING, SHADOW, as_json, audit_shadow, heading
from bot.cli.main import main_app
from bot.domain.errors import DataError
from models.evaluation.bootstrap import Sampling
from models.evaluation.results import to_markdown
from tests.support.replays import run, settings_with, small_market
from tests.support.served import write_served

FAST = Sampling(seed=1, resamples=100)


@pytest.fixture(scope="module")
def audited(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return the directory of a run with a shadow that forecasts other horizons as well."""
    home = tmp_path_factory.mktemp("audited")
    model, shadow = write_served(home / "a"), write_served(home / "b", "dlinear", seed=9)
    chosen = ["run.end=2024-01-01T12:00:00Z", "predictor.kind=artifact", f"predictor.path={model}"]
    settings = settings_with(home / "runs", [*small_market(home), *chosen, f"predictor.shadow={shadow}"])
    return run(settings).directory


def test_a_shadow_is_judged_beside_the_model_that_was_traded(audited: Path) -> None:
    found = audit_shadow(audited, sampling=FAST)
    assert [each.model for each in found.results.models] == [SHADOW, SERVING]
    shadow, serving = (each.horizons for each in found.results.models)
    assert [each.horizon_ns for each in shadow] == [each.horizon_ns for each in serving]
    assert shadow[0].decisions == serving[0].decisions > 300
    assert set(shadow[0].against) == {SERVING}
    assert shadow[0].metrics["coverage_0.9"].low <= shadow[0].metrics["coverage_0.9"].value
    assert {each.model for each in found.kept} == {SERVING, SHADOW}
    assert all(0 <= each.least <= each.last <= each.greatest <= 1 for each in found.kept)
    text = heading(found) + to_markdown(found.results)
    assert f"shadow {found.shadow}" in text
    assert "Live coverage" in text
    assert json.loads(as_json(found))["shadow"] == found.shadow != found.serving


def test_what_is_judged_is_what_the_run_wrote(audited: Path) -> None:
    """Coverage counted by hand from the two files."""
    table = pq.read_table(audited / "shadow.parquet")
    tape = pq.read_table(audited / "tape.parquet").to_pandas().set_index("close_ns")["close"]
    decided = table["close_ns"].to_numpy()
    own = pq.read_table(audited / "forecasts.parquet")["close_ns"].to_numpy()
    quantiles = table["quantiles"].combine_chunks().flatten().to_numpy().reshape(len(decided), 2, 5)
    hits = []
    for row in np.flatnonzero(np.isin(decided, own)):
        if decided[row] + 300 * 10**9 in tape.index:
            came = np.log(tape[decided[row] + 300 * 10**9] / tape[decided[row]])
            hits.append(quantiles[row, 0, 0] <= came <= quantiles[row, 0, 4])
    found = audit_shadow(audited, sampling=FAST).results.models[0].horizons[0]
    assert found.decisions == len(hits)
    assert found.metrics["coverage_0.9"].value == pytest.approx(np.mean(hits))


def test_the_command_prints_it_and_keeps_it(audited: Path, tmp_path: Path) -> None:
    out = tmp_path / "found"
    arguments = ["evaluate", "--shadow", str(audited), "--resamples", "100", "--out", str(out)]
    done = CliRunner().invoke(main_app, arguments)
    assert done.exit_code == 0, done.output
    assert "Skill over" in done.stdout
    assert sorted(each.name for each in out.iterdir()) == ["shadow.json", "shadow.md"]


def test_a_ledger_that_names_no_shadow_leaves_the_file_to_itself(audited: Path, tmp_path: Path) -> None:
    """As a live run's does: judged alike, and it is said that nothing vouches for the file."""
    for name in ("ledger.sqlite", "tape.parquet", "forecasts.parquet", "shadow.parquet"):
        (tmp_path / name).write_bytes((audited / name).read_bytes())
    with sqlite3.connect(tmp_path / "ledger.sqlite") as connection:
        (body,) = connection.execute("select body from journal order by seq desc limit 1").fetchone()
        unnamed = json.dumps(json.loads(body) | {"shadow_id": "", "shadow_hash": ""})
        connection.execute("update journal set body = ? where body = ?", (unnamed, body))
    connection.close()
    found, vouched = (audit_shadow(each, sampling=FAST) for each in (tmp_path, audited))
    assert (found.is_vouched, vouched.is_vouched) == (False, True)
    assert "stands for itself" in heading(found)
    assert found.results == vouched.results


def test_files_that_are_no_shadow_are_refused(audited: Path, tmp_path: Path) -> None:
    """Another run's file, a damaged one, none, and a run that had no shadow."""
    copy = tmp_path / "run"
    copy.mkdir()
    for name in ("ledger.sqlite", "tape.parquet", "forecasts.parquet", "shadow.parquet"):
        (copy / name).write_bytes((audited / name).read_bytes())
    (copy / "shadow.parquet").write_bytes((audited / "forecasts.parquet").read_bytes())
    with pytest.raises(DataError, match="not what the run wrote"):
        audit_shadow(copy, sampling=FAST)
    (copy / "shadow.parquet").write_bytes(b"PAR1 is no Parquet file")
    with pytest.raises(DataError, match="damaged"):
        audit_shadow(copy, sampling=FAST)
    (copy / "shadow.parquet").unlink()
    with pytest.raises(DataError, match="no such file"):
        audit_shadow(copy, sampling=FAST)
    with pytest.raises(DataError, match="no run here"):
        audit_shadow(tmp_path, sampling=FAST)
