"""An artefact is used as it was written, or refused with the reason; the old model goes on serving."""

import hashlib
import os
import shutil
from collections.abc import Callable
from pathlib import Path

import msgspec
import numpy as np
import pytest
import torch
from Crypto.PublicKey import ECC
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from torch import Tensor

from bot.core.features.schema import FeatureSchema
from bot.domain.errors import ConfigError, DataError
from models import artifact_store
from models.artifact import Serving, load
from models.artifact_files import check_header, public_key_of, read_files
from models.manifest import GOLDEN, MANIFEST, SIGNATURE, WEIGHTS, Manifest, from_json, to_json
from models.registry import build
from tests.support.examples import examples
from tests.support.tiny_artifacts import SCHEMA, config, forge, write_artifact
from tests.support.training import START

replace = msgspec.structs.replace


@pytest.fixture(scope="module")
def written(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_artifact(tmp_path_factory.mktemp("store"))


@pytest.fixture
def path(written: Path, tmp_path: Path) -> Path:
    """Return a copy to spoil."""
    return Path(shutil.copytree(written, tmp_path / written.name))


def signing_key() -> bytes:
    return ECC.generate(curve="Ed25519").export_key(format="PEM").encode()


def test_what_was_written_is_loaded(written: Path) -> None:
    """Same weights, same normalisers, same answers; named by its manifest's hash; twice the same bytes."""
    loaded = load(written, live_schema_hash=SCHEMA.hash)
    fresh = build(replace(config(), seed=0))
    for name, value in fresh.state_dict().items():
        assert torch.equal(loaded.model.state_dict()[name], value)
    assert not loaded.model.training
    assert loaded.golden_error == 0.0
    assert loaded.manifest.golden.rows == 8
    content = (written / MANIFEST).read_bytes()
    assert written.name == f"flagship-{hashlib.sha256(content).hexdigest()[:12]}"
    assert to_json(loaded.manifest) == content
    assert write_artifact(written.parent) == written


def test_the_normaliser_is_the_one_that_was_fitted(written: Path) -> None:
    """Loaded and fitted give the same bits, for a batch and for a single row."""
    loaded = load(written)
    fit = loaded.manifest.normaliser.fits["5m"]
    values = np.random.default_rng(1).normal(0, 100, (50, 2))
    center, scale = (np.array(each, dtype=np.float32) for each in (fit.center, fit.scale))
    expected = np.clip((values.astype(np.float32) - center) / scale, np.float32(-8), np.float32(8))
    whole = loaded.normalizers["5m"].apply(values)
    assert whole.dtype == np.float32
    assert whole.tobytes() == expected.tobytes()
    assert b"".join(loaded.normalizers["5m"].apply(row).tobytes() for row in values) == expected.tobytes()


@settings(max_examples=examples(150), deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(data=st.data())
def test_one_changed_byte_anywhere_is_refused(written: Path, tmp_path: Path, data: st.DataObject) -> None:
    """Whichever byte of whichever file changes, and however, the artefact is refused before anything is parsed."""
    name = data.draw(st.sampled_from([WEIGHTS, GOLDEN, MANIFEST]))
    content = bytearray((written / name).read_bytes())
    at = data.draw(st.integers(0, len(content) - 1))
    content[at] ^= data.draw(st.integers(1, 255))
    spoiled = tmp_path / written.name
    shutil.rmtree(spoiled, ignore_errors=True)
    shutil.copytree(written, spoiled)
    (spoiled / name).write_bytes(content)
    with pytest.raises(DataError):
        read_files(spoiled)


def test_bytes_of_the_manifest_that_are_no_text_are_refused(path: Path) -> None:
    """Also within a key or value that nobody reads."""
    content = (path / MANIFEST).read_bytes()
    for at in range(len(content)):
        with pytest.raises(DataError):
            from_json(content[:at] + b"\xe4" + content[at + 1 :])


@pytest.mark.parametrize("name", [WEIGHTS, GOLDEN, MANIFEST])
@pytest.mark.parametrize("change", [lambda c: c[:-1], lambda c: c + b"\0", lambda c: b""])
def test_a_shorter_or_longer_file_is_refused(path: Path, name: str, change: Callable[[bytes], bytes]) -> None:
    (path / name).write_bytes(change((path / name).read_bytes()))
    with pytest.raises(DataError):
        read_files(path)


def test_missing_added_and_renamed(path: Path, tmp_path: Path) -> None:
    (path / "notes.txt").write_text("hello")
    with pytest.raises(DataError, match=r"notes\.txt is no part of an artefact"):
        load(path)
    (path / "notes.txt").unlink()
    renamed = path.rename(tmp_path / "flagship-000000000000")
    with pytest.raises(DataError, match="was changed, or the directory renamed"):
        load(renamed)
    (renamed / GOLDEN).unlink()
    with pytest.raises(DataError, match=r"golden\.safetensors is missing"):
        load(renamed)


def test_links_are_not_followed(path: Path, tmp_path: Path) -> None:
    """Neither a link in place of a file nor one in place of the directory, even if what it leads to is whole."""
    elsewhere = tmp_path / "elsewhere"
    (path / WEIGHTS).rename(elsewhere)
    (path / WEIGHTS).symlink_to(elsewhere)
    with pytest.raises(DataError, match="links are not followed"):
        load(path)
    (path / WEIGHTS).unlink()
    elsewhere.rename(path / WEIGHTS)
    load(path)
    (tmp_path / "other").mkdir()
    link = tmp_path / "other" / path.name
    link.symlink_to(path)
    with pytest.raises(DataError, match="not a directory"):
        load(link)


def test_a_pipe_in_place_of_a_file_does_not_hang(path: Path) -> None:
    (path / WEIGHTS).unlink()
    os.mkfifo(path / WEIGHTS)
    with pytest.raises(DataError, match="not a plain file"):
        load(path)


# Forged: hashes and name are right, and a later check must tell.


def refused(path: Path, words: str) -> None:
    with pytest.raises(DataError, match=words):
        load(path, live_schema_hash=SCHEMA.hash)


def test_forging_nothing_is_no_forgery(path: Path) -> None:
    load(forge(path), live_schema_hash=SCHEMA.hash)


def test_features_in_another_order(path: Path) -> None:
    """By the live hash; by the manifest against itself; by the model's own inputs."""
    swapped = FeatureSchema(["volatility(20)", "log_return"], ["5m", "15m"])
    with pytest.raises(DataError, match="this pipeline computes"):
        load(path, live_schema_hash=swapped.hash)

    def reorder(told: Manifest) -> Manifest:
        features = (told.features.features[1], told.features.features[0], *told.features.features[2:])
        return replace(told, features=replace(told.features, features=features))

    refused(forge(path, manifest=reorder), "features")
    rehashed = replace(forge_manifest(path).features, features=swapped.specs, hash=swapped.hash)
    other = forge(path, manifest=lambda told: replace(told, features=rehashed))
    with pytest.raises(DataError, match="in another order"):
        load(other, live_schema_hash=swapped.hash)


def forge_manifest(path: Path) -> Manifest:
    return read_files(path).manifest


def test_another_normaliser(path: Path) -> None:
    """Changed tensors, swapped scales, and a record that is of other numbers."""

    def move(tensors: dict[str, Tensor]) -> dict[str, Tensor]:
        return tensors | {"norm/5m/center": tensors["norm/5m/center"] + 1}

    def swap(tensors: dict[str, Tensor]) -> dict[str, Tensor]:
        return tensors | {"norm/5m/scale": tensors["norm/15m/scale"], "norm/15m/scale": tensors["norm/5m/scale"]}

    refused(forge(path, weights=move), "normaliser: its tensors are not those that were fitted")
    refused(forge(path, weights=swap), "normaliser: its tensors are not those that were fitted")

    def other_fits(told: Manifest) -> Manifest:
        fits = {"5m": told.normaliser.fits["15m"], "15m": told.normaliser.fits["5m"]}
        return replace(told, normaliser=replace(told.normaliser, fits=fits))

    refused(forge(path, manifest=other_fits), "normaliser: the tensors of")

    def without(told: Manifest) -> Manifest:
        return replace(told, normaliser=replace(told.normaliser, fits={"5m": told.normaliser.fits["5m"]}))

    refused(forge(path, manifest=without), "normaliser: at 15m")


def test_drifted_golden(path: Path) -> None:
    """Other answers, other inputs, other weights: each gives itself away."""

    def drift(tensors: dict[str, Tensor]) -> dict[str, Tensor]:
        return tensors | {"output/quantiles": tensors["output/quantiles"] + 1e-3}

    def poison(tensors: dict[str, Tensor]) -> dict[str, Tensor]:
        return tensors | {"output/quantiles": tensors["output/quantiles"] * float("nan")}

    def lose(tensors: dict[str, Tensor]) -> dict[str, Tensor]:
        return {name: value for name, value in tensors.items() if name != "output/dir_logit"}

    def early(tensors: dict[str, Tensor]) -> dict[str, Tensor]:
        return tensors | {"input/decision_ns": tensors["input/decision_ns"] - 10**15}

    def retrained(tensors: dict[str, Tensor]) -> dict[str, Tensor]:
        name = next(name for name in tensors if name.startswith("model/") and name.endswith("last.weight"))
        return tensors | {name: tensors[name] * 1.5}

    refused(forge(path, golden=drift), "golden: quantiles differs")
    refused(forge(path, golden=poison), "golden: quantiles differs")
    refused(forge(path, golden=lose), "was recorded")
    refused(forge(path, golden=early), "knows 0 bars")
    refused(forge(path, weights=retrained), "computes another function")


def test_tensors(path: Path) -> None:
    """Extra, missing, misshapen, of another type, or no numbers."""

    def extra(tensors: dict[str, Tensor]) -> dict[str, Tensor]:
        return tensors | {"model/extra": torch.zeros(2)}

    def stray(tensors: dict[str, Tensor]) -> dict[str, Tensor]:
        return tensors | {"other/extra": torch.zeros(2)}

    def fewer(tensors: dict[str, Tensor]) -> dict[str, Tensor]:
        return {name: value for name, value in tensors.items() if not name.endswith("last.bias")}

    def nan(tensors: dict[str, Tensor]) -> dict[str, Tensor]:
        name = next(name for name in tensors if name.startswith("model/"))
        spoiled = tensors[name].clone()
        spoiled.view(-1)[0] = float("nan")
        return tensors | {name: spoiled}

    def halved(tensors: dict[str, Tensor]) -> dict[str, Tensor]:
        name = next(name for name in tensors if name.endswith("last.bias"))
        return tensors | {name: tensors[name][:-1].clone()}

    refused(forge(path, weights=extra, lists_tensors=False), "model/extra is not in the manifest")
    refused(forge(path, weights=fewer, lists_tensors=False), "is missing")
    refused(forge(path, weights=halved, lists_tensors=False), "the manifest says")
    refused(forge(path, weights=extra), "model: the weights are not this network's")
    refused(forge(path, weights=stray), "other/extra belongs to nothing")
    refused(forge(path, weights=fewer), "model: the weights are not this network's")
    refused(forge(path, weights=nan), "holds a NaN")


def test_calibration_must_be_the_manifests(path: Path) -> None:
    def move(tensors: dict[str, Tensor]) -> dict[str, Tensor]:
        return tensors | {"calib/offsets": tensors["calib/offsets"] * 2}

    refused(forge(path, weights=move), "calibration")


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (lambda c: c[:5], "too short"),
        (lambda c: (1 << 40).to_bytes(8, "little") + c[8:], "oversized"),
        (lambda c: (len(c) * 2).to_bytes(8, "little") + c[8:], "oversized"),
        (lambda c: c.replace(b'"F32"', b'"F99"', 1), "type F99"),
        (lambda c: c + b"\0\0\0\0", "belong to no tensor"),
        (lambda c: c[:9] + b"x" + c[10:], "not one of tensors"),
    ],
)
def test_headers(path: Path, change: Callable[[bytes], bytes], words: str) -> None:
    refused(forge(path, raw_weights=change), words)


def header(text: bytes, data: bytes) -> bytes:
    return len(text).to_bytes(8, "little") + text + data


@pytest.mark.parametrize(
    ("content", "words"),
    [
        (header(b'{"a":{"dtype":"F32","shape":[2],"data_offsets":[4,12]}}', b"0" * 12), "not at 0"),
        (
            header(
                b'{"a":{"dtype":"F32","shape":[1],"data_offsets":[0,4]},'
                b'"b":{"dtype":"F32","shape":[1],"data_offsets":[2,6]}}',
                b"0" * 6,
            ),
            "lies at 2",
        ),
        (header(b'{"a":{"dtype":"F32","shape":[3],"data_offsets":[0,4]}}', b"0" * 4), "lies at 0 to 4"),
        (header(b'{"a":{"dtype":"F32","shape":[-1],"data_offsets":[0,-4]}}', b""), "type F32"),
        (
            header(
                b'{"a":{"dtype":"F32","shape":[1],"data_offsets":[0,4]},'
                b'"a":{"dtype":"F32","shape":[1],"data_offsets":[0,4]}}',
                b"0" * 4,
            ),
            "twice",
        ),
        (header(b'{"__metadata__":{"a":"b"}}', b""), "not one of tensors"),
        (header(b"[1]", b""), "not one of tensors"),
        (header(b"[" * 5000, b""), "not one of tensors"),
    ],
)
def test_headers_that_lie(content: bytes, words: str) -> None:
    with pytest.raises(DataError, match=words):
        check_header("weights", content, None)


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (lambda c: c[:-1] + b',"zeta":1}', "unknown|not in the form"),
        (lambda c: c.replace(b'"is_dirty":null', b'"is_dirty":null,"mood":"good"'), "mood|unknown"),
        (lambda c: c.replace(b'"identity":{', b'"identity": {', 1), "not in the form"),
        (lambda c: c.replace(b'"format":2,"is_dirty"', b'"format":3,"is_dirty"'), "format 3; this program reads 2"),
        (lambda c: c.replace(b'"registry":1', b'"registry":1,"registry":1'), "not in the form"),
        (lambda c: c.replace(b"golden.safetensors", b"../golden.safetens"), "it names|files are"),
        (lambda c: c.replace(b'"weights.safetensors":', b'"/etc/passwd":'), "not in the form|it names"),
        (lambda c: b"\xff\xfe", "manifest"),
        (lambda c: b"{}", "identity"),
    ],
)
def test_manifests(path: Path, change: Callable[[bytes], bytes], words: str) -> None:
    """Unknown keys, other versions, other spellings, names that lead elsewhere."""
    refused(forge(path, raw_manifest=change), words)


def test_one_from_before_a_field_came_still_opens(path: Path) -> None:
    """Not written then, it has its default now; a key that nobody knows is refused wherever it stands."""
    without = forge(path, raw_manifest=lambda c: c.replace(b'"regimes":null,', b"").replace(b'"factors":3,', b""))
    assert b"regimes" not in (without / MANIFEST).read_bytes()
    assert load(without).manifest.labels.regimes is None
    refused(forge(path, raw_manifest=lambda c: c.replace(b'"factors":3,', b'"factorz":3,')), "factorz|not in the form")
    refused(
        forge(path, raw_manifest=lambda c: c.replace(b'"factors":3,', b'"factors":3.0,')), "factors|not in the form"
    )


def test_expired(written: Path) -> None:
    load(written, now_ns=START)
    with pytest.raises(DataError, match="expired at"):
        load(written, now_ns=START + 10**15)


def test_signatures(tmp_path: Path) -> None:
    """A signed artefact is refused if one bit of its signature differs, or its signer is not trusted."""
    key, other = signing_key(), signing_key()
    path = write_artifact(tmp_path, private_key=key)
    mine = public_key_of(key)
    load(path, trusted=frozenset({mine}))
    load(path)
    with pytest.raises(DataError, match="not among those trusted"):
        load(path, trusted=frozenset({public_key_of(other)}))
    content = (path / SIGNATURE).read_bytes()
    for at in range(0, 64, 7):
        spoiled = bytearray(content)
        spoiled[at] ^= 1
        (path / SIGNATURE).write_bytes(spoiled)
        with pytest.raises(DataError, match="not the signer's"):
            load(path)
    (path / SIGNATURE).unlink()
    with pytest.raises(DataError, match="must both be there"):
        load(path)


def test_unsigned_is_not_enough_where_signers_are_named(written: Path) -> None:
    with pytest.raises(DataError, match="not signed"):
        load(written, trusted=frozenset({"00" * 32}))


def test_a_key_that_is_none(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="no private key"):
        write_artifact(tmp_path, private_key=b"nonsense")


def test_the_old_model_goes_on_serving(path: Path, tmp_path: Path) -> None:
    """A refused successor changes nothing; a good one takes over; going back works."""
    serving = Serving()
    assert serving.switch(lambda: load(path)) is None
    old = serving.loaded
    bad = forge(path, golden=lambda t: t | {"output/quantiles": t["output/quantiles"] + 1})
    reason = serving.switch(lambda: load(bad))
    assert reason is not None
    assert "golden" in reason
    assert serving.loaded is old
    good = write_artifact(tmp_path, seed=1)
    assert serving.switch(lambda: load(good)) is None
    assert serving.loaded is not old


def test_pointer(tmp_path: Path) -> None:
    """CURRENT changes in one step and remembers what was before."""
    first, second = write_artifact(tmp_path), write_artifact(tmp_path, seed=1)
    assert artifact_store.current(tmp_path) is None
    artifact_store.use(tmp_path, first.name)
    artifact_store.use(tmp_path, second.name)
    assert (tmp_path / "CURRENT").read_text() == f"{second.name}\n"
    assert artifact_store.rollback_target(tmp_path) == first.name
    assert artifact_store.locate(tmp_path, "current") == second
    assert artifact_store.locate(tmp_path, second.name[:12]) == second
    with pytest.raises(ConfigError, match="begin so"):
        artifact_store.locate(tmp_path, "flagship")
    with pytest.raises(ConfigError, match="no such model"):
        artifact_store.use(tmp_path, "flagship-000000000000")


@pytest.mark.parametrize("text", ["../../etc/passwd\n", "flagship-000000000000/../x\n", "", "a" * 300])
def test_a_pointer_that_leads_out_is_refused(tmp_path: Path, text: str) -> None:
    (tmp_path / "CURRENT").write_text(text)
    with pytest.raises(DataError, match="no name of an artefact"):
        artifact_store.current(tmp_path)


def test_nothing_half_written_is_seen(tmp_path: Path) -> None:
    """What a crash left under its temporary name is no artefact, and does not stop the next attempt."""
    whole = write_artifact(tmp_path / "a")
    part = tmp_path / "b" / f"{whole.name}.part"
    part.mkdir(parents=True)
    (part / MANIFEST).write_text("half")
    assert artifact_store.names(tmp_path / "b") == []
    assert write_artifact(tmp_path / "b").name == whole.name
    assert not part.exists()
