"""An artefact's files, read and judged before anything is made of them: no torch, no trust.

Every file is opened once, without following links, and what is checked is what is used: the same bytes in memory.
"""

import hashlib
import os
import stat
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import msgspec
from Crypto.PublicKey import ECC
from Crypto.Signature import eddsa

from bot.domain.errors import ConfigError, DataError
from models.manifest import (
    GOLDEN,
    MANIFEST,
    MANIFEST_BYTES_MAX,
    SIGNATURE,
    WEIGHTS,
    Manifest,
    TensorOf,
    from_json,
    name_of,
)

_SIZES = {
    "F64": 8, "F32": 4, "F16": 2, "BF16": 2, "I64": 8, "I32": 4, "I16": 2, "I8": 1, "U8": 1, "BOOL": 1,
}  # fmt: skip
_HEADER_BYTES_MAX = 16 << 20
_FILE_BYTES_MAX = 8 << 30
_NAME_MAX = 512


class Files(msgspec.Struct, frozen=True, kw_only=True):
    """What was read, verified."""

    manifest: Manifest
    manifest_bytes: bytes
    weights: bytes
    golden: bytes


def read_files(path: Path, *, trusted: frozenset[str] | None = None) -> Files:
    """Return an artefact's files, each byte of which is what it was when it was written.

    Args:
        path: the directory, under its own name: the name is the manifest's hash.
        trusted: Ed25519 public keys, hex; None: unsigned artefacts are good enough.

    Raises:
        DataError: something is missing, added, changed, a link, or not signed by one of `trusted`; the message says
            what.
    """
    _check_directory(path)
    content = _read(path / MANIFEST, MANIFEST_BYTES_MAX)
    manifest_name = path.name
    try:
        manifest = from_json(content)
    except DataError as error:
        raise DataError(f"{path}: {error}") from error
    expected = name_of(manifest.identity.system, content)
    if expected != manifest_name:
        raise DataError(f"{path}: {MANIFEST} makes it {expected}; it was changed, or the directory renamed")
    _check_signature(path, manifest, content, trusted)
    read = {}
    for name in (WEIGHTS, GOLDEN):
        told = manifest.files[name]
        read[name] = _read(path / name, max(0, min(told.size, _FILE_BYTES_MAX)))
        if len(read[name]) != told.size:
            raise DataError(f"{path / name}: {len(read[name]):,} bytes or more; the manifest says {told.size:,}")
        if hashlib.sha256(read[name]).hexdigest() != told.sha256:
            raise DataError(f"{path / name}: not the bytes that were written; copy the artefact again")
    return Files(manifest=manifest, manifest_bytes=content, weights=read[WEIGHTS], golden=read[GOLDEN])


def check_header(what: str, content: bytes, expected: Mapping[str, TensorOf] | None) -> dict[str, TensorOf]:
    """Return the tensors that the header of a safetensors file names, all of them in place.

    Args:
        what: the file, for messages.
        expected: exactly these, or None for whatever is there.

    Raises:
        DataError: the header is too long, no JSON, names a tensor twice, or tensors overlap, leave holes, or are not
            those expected.
    """
    if len(content) < 8:
        raise DataError(f"{what}: too short to be a safetensors file")
    length = int.from_bytes(content[:8], "little")
    if length > min(_HEADER_BYTES_MAX, len(content) - 8):
        raise DataError(f"{what}: a header of {length:,} bytes is oversized; {_HEADER_BYTES_MAX:,} are allowed at most")
    header = content[8 : 8 + length]
    try:
        told: dict[str, Any] = msgspec.json.decode(header, type=dict[str, msgspec.Raw])
        entries = {name: msgspec.json.decode(raw, type=_Entry) for name, raw in told.items()}
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError) as error:
        raise DataError(f"{what}: the header is not one of tensors: {error}") from error
    if header.count(b'"data_offsets"') != len(entries):
        raise DataError(f"{what}: the header names a tensor twice")
    at = 0
    for name, entry in sorted(entries.items(), key=lambda item: item[1].data_offsets):
        start, stop = entry.data_offsets
        size = _size(what, name, entry)
        if start != at or stop != start + size:
            raise DataError(f"{what}: tensor {name} lies at {start} to {stop}, not at {at} to {at + size}")
        at = stop
    if at != len(content) - 8 - length:
        raise DataError(f"{what}: {len(content) - 8 - length - at:,} bytes belong to no tensor")
    found = {name: TensorOf(dtype=entry.dtype, shape=entry.shape) for name, entry in entries.items()}
    if expected is not None:
        _compare(what, found, expected)
    return found


class _Entry(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    dtype: str
    shape: tuple[int, ...]
    data_offsets: tuple[int, int]


def _size(what: str, name: str, entry: _Entry) -> int:
    if len(name) > _NAME_MAX or entry.dtype not in _SIZES or len(entry.shape) > 8 or min(entry.shape, default=0) < 0:
        raise DataError(f"{what}: tensor {name[:80]} is of the type {entry.dtype} {list(entry.shape)}")
    size = _SIZES[entry.dtype]
    for length in entry.shape:
        size *= length
    return size


def _compare(what: str, found: Mapping[str, TensorOf], expected: Mapping[str, TensorOf]) -> None:
    extra, missing = sorted(set(found) - set(expected)), sorted(set(expected) - set(found))
    if extra:
        raise DataError(f"{what}: tensor {extra[0]} is not in the manifest")
    if missing:
        raise DataError(f"{what}: tensor {missing[0]} is missing")
    for name, tensor in expected.items():
        if found[name] != tensor:
            raise DataError(
                f"{what}: tensor {name} is {found[name].dtype} {list(found[name].shape)}; the manifest says "
                f"{tensor.dtype} {list(tensor.shape)}"
            )


def _check_directory(path: Path) -> None:
    try:
        if not stat.S_ISDIR(path.lstat().st_mode):
            raise DataError(f"{path}: not a directory; an artefact is one, and no link to one")
        names = sorted(each.name for each in path.iterdir())
    except OSError as error:
        raise DataError(f"{path}: no artefact ({error.strerror}); `bot models list` shows what there is") from error
    unknown = [name for name in names if name not in (WEIGHTS, GOLDEN, MANIFEST, SIGNATURE)]
    missing = [name for name in (MANIFEST, WEIGHTS, GOLDEN) if name not in names]
    if unknown:
        raise DataError(f"{path}: {unknown[0]} is no part of an artefact; remove it, and ask how it got there")
    if missing:
        raise DataError(f"{path}: {missing[0]} is missing; copy the artefact again")


def _read(path: Path, size_max: int) -> bytes:
    """Return a file's content; more than `size_max` bytes are told by one byte too many."""
    try:
        handle = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK)
        with os.fdopen(handle, "rb") as file:
            if not stat.S_ISREG(os.fstat(file.fileno()).st_mode):
                raise DataError(f"{path}: not a plain file")
            return file.read(size_max + 1)
    except OSError as error:
        link = "a link, and links are not followed" if path.is_symlink() else error.strerror
        raise DataError(f"{path}: cannot be read: {link}") from error


# Signatures.


def public_key_of(private_key: bytes) -> str:
    """Return the public part, hex, of an Ed25519 private key in PEM form.

    Raises:
        ConfigError: it is none.
    """
    return _private(private_key).public_key().export_key(format="raw").hex()


def sign(private_key: bytes, content: bytes) -> bytes:
    """Return the Ed25519 signature of a manifest, 64 bytes.

    Raises:
        ConfigError: the key is none.
    """
    return bytes(eddsa.new(_private(private_key), "rfc8032").sign(content))


def _private(private_key: bytes) -> ECC.EccKey:
    try:
        key = ECC.import_key(private_key)
    except (ValueError, IndexError, TypeError) as error:
        raise ConfigError("the signing key is no private key in PEM form") from error
    if key.curve != "Ed25519" or not key.has_private():
        raise ConfigError("the signing key is no Ed25519 private key; make one with openssl genpkey -algorithm ed25519")
    return key


def _check_signature(path: Path, manifest: Manifest, content: bytes, trusted: frozenset[str] | None) -> None:
    signer, has_file = manifest.identity.signer, os.path.lexists(path / SIGNATURE)
    if signer is None and not has_file:
        if trusted is not None:
            raise DataError(f"{path}: not signed, and only signed models are to be used")
        return
    if signer is None or not has_file:
        raise DataError(f"{path}: {SIGNATURE} and the signer in {MANIFEST} must both be there, or neither")
    try:
        key = eddsa.import_public_key(bytes.fromhex(signer))
        eddsa.new(key, "rfc8032").verify(content, _read(path / SIGNATURE, 64))
    except ValueError as error:
        raise DataError(f"{path}: {SIGNATURE} is not the signer's; the artefact is not what was signed") from error
    if trusted is not None and signer not in trusted:
        raise DataError(f"{path}: signed by {signer[:16]}..., who is not among those trusted")
