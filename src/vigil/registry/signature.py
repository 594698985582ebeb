"""Signatures of bundles: Ed25519 over the bytes of the manifest, with keys in PEM files.

    openssl genpkey -algorithm ed25519 -out signing.pem
    openssl pkey -in signing.pem -pubout -out public.pem

A signature is 64 raw bytes, so that openssl can check it as well:

    openssl pkeyutl -verify -rawin -pubin -inkey public.pem -in manifest.json -sigfile signatures/KEY.sig
"""

import hashlib
from pathlib import Path

from vigil.errors import ContractError, MissingExtra

try:
    from cryptography.exceptions import InvalidSignature
    from cryptography.hazmat.primitives import serialization
    from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey
except ImportError as error:
    raise MissingExtra("cryptography", "train") from error

FOLDER = "signatures"
_MAKE = "make one with: openssl genpkey -algorithm ed25519"


def sign(content: bytes, signing_key: Path) -> tuple[str, bytes]:
    """Return where in the bundle the signature belongs (the name tells the key), and the signature of `content`."""
    key = _read_private_key(signing_key)
    return _path(key.public_key()), key.sign(content)


def signature_path(public_key: Path) -> str:
    """Return where in a bundle the signature by the private half of `public_key` lies."""
    return _path(_read_public_key(public_key))


def is_signed_by(public_key: Path, content: bytes, signature: bytes) -> bool:
    """Return whether `signature` was made of `content` with the private half of `public_key`."""
    try:
        _read_public_key(public_key).verify(signature, content)
    except InvalidSignature:
        return False
    return True


def _path(key: Ed25519PublicKey) -> str:
    return f"{FOLDER}/{hashlib.sha256(key.public_bytes_raw()).hexdigest()[:16]}.sig"


def _read_private_key(path: Path) -> Ed25519PrivateKey:
    try:
        key = serialization.load_pem_private_key(_read_pem(path), password=None)
    except (ValueError, TypeError) as error:
        raise ContractError(f"{path} holds no private key in PEM without a password: {_MAKE} -out {path}") from error
    if not isinstance(key, Ed25519PrivateKey):
        raise ContractError(f"{path} is not an Ed25519 key: {_MAKE} -out {path}")
    return key


def _read_public_key(path: Path) -> Ed25519PublicKey:
    try:
        key = serialization.load_pem_public_key(_read_pem(path))
    except ValueError as error:
        raise ContractError(
            f"{path} holds no public key in PEM: derive it with openssl pkey -in KEY -pubout -out {path}"
        ) from error
    if not isinstance(key, Ed25519PublicKey):
        raise ContractError(f"{path} is not an Ed25519 key: {_MAKE}, then openssl pkey -in KEY -pubout -out {path}")
    return key


def _read_pem(path: Path) -> bytes:
    try:
        return path.read_bytes()
    except OSError as error:
        raise ContractError(f"cannot read the key {path}: {error.strerror}") from error
