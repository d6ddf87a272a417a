"""A private key and its certificate, made for the tests."""

from __future__ import annotations

import datetime

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import rsa

KEY = rsa.generate_private_key(public_exponent=65537, key_size=2048)


def _certificate() -> x509.Certificate:
    name = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, "cij-tests")])
    now = datetime.datetime.now(datetime.UTC)
    builder = x509.CertificateBuilder(name, name, KEY.public_key(), x509.random_serial_number())
    builder = builder.not_valid_before(now).not_valid_after(now + datetime.timedelta(days=1))
    return builder.sign(KEY, hashes.SHA256())


def _pem(passphrase: bytes | None = None) -> str:
    encryption = serialization.BestAvailableEncryption(passphrase) if passphrase else serialization.NoEncryption()
    pkcs8 = (serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8)
    return (
        KEY.private_bytes(*pkcs8, encryption).decode() + CERTIFICATE.public_bytes(serialization.Encoding.PEM).decode()
    )


CERTIFICATE = _certificate()
