"""A certificate authority of a scenario's own: a root, an intermediate, and certificates for servers."""

from __future__ import annotations

import datetime
import ipaddress
from pathlib import Path
from typing import Any

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from cryptography.x509.oid import NameOID


def _name(text: str) -> x509.Name:
    return x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, text)])


def _pem(*certificates: x509.Certificate) -> str:
    return "".join(
        each.public_bytes(serialization.Encoding.PEM).decode() for each in certificates
    )


def _alternative(name: str) -> x509.GeneralName:
    try:
        return x509.IPAddress(ipaddress.ip_address(name))
    except ValueError:
        return x509.DNSName(name)


class Authority:
    """Clients trust the root; servers are certified by the intermediate."""

    def __init__(self) -> None:
        self._root_key = ec.generate_private_key(ec.SECP256R1())
        self._root = self._issue_authority("a root of a scenario", self._root_key, None)
        self._key = ec.generate_private_key(ec.SECP256R1())
        self._intermediate = self._issue_authority(
            "an intermediate of a scenario", self._key, self._root
        )

    def root(self) -> str:
        return _pem(self._root)

    def certify(
        self,
        folder: Path,
        names: list[str],
        *,
        stem: str = "server",
        begins_in: datetime.timedelta = datetime.timedelta(minutes=-5),
        ends_in: datetime.timedelta = datetime.timedelta(days=60),
        kind: str = "ec",
        is_authority: bool = False,
    ) -> int:
        """Writes `STEM.pem`, the whole chain but the root, and `STEM.key`; the key's secret number, or an RSA key's
        first prime."""
        key: ec.EllipticCurvePrivateKey | rsa.RSAPrivateKey
        if kind == "rsa":
            key = rsa.generate_private_key(65537, 2048)
        else:
            key = ec.generate_private_key(ec.SECP256R1())
        leaf = self._issue(
            key.public_key(), names, begins_in=begins_in, ends_in=ends_in, is_authority=is_authority
        )
        private = key.private_bytes(
            serialization.Encoding.PEM,
            serialization.PrivateFormat.PKCS8
            if kind == "rsa"
            else serialization.PrivateFormat.TraditionalOpenSSL,
            serialization.NoEncryption(),
        )
        # In the order in which an operator's tools replace them: first the one, then the other.
        (folder / f"{stem}.pem").write_text(_pem(leaf, self._intermediate))
        (folder / f"{stem}.key").write_bytes(private)
        numbers = key.private_numbers()
        return numbers.p if isinstance(numbers, rsa.RSAPrivateNumbers) else numbers.private_value

    def certify_request(
        self, request: bytes, *, begins_in: datetime.timedelta, ends_in: datetime.timedelta
    ) -> str:
        """The whole chain but the root, for the names and the key of a request in DER."""
        wanted = x509.load_der_x509_csr(request)
        names = wanted.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
        leaf = self._issue(
            wanted.public_key(), names.get_values_for_type(x509.DNSName),
            begins_in=begins_in, ends_in=ends_in, is_authority=False,
        )  # fmt: skip
        return _pem(leaf, self._intermediate)

    def _issue(
        self,
        key: Any,
        names: list[str],
        *,
        begins_in: datetime.timedelta,
        ends_in: datetime.timedelta,
        is_authority: bool,
    ) -> x509.Certificate:
        now = datetime.datetime.now(datetime.timezone.utc)
        return (
            x509.CertificateBuilder()
            .subject_name(_name("a server of a scenario"))
            .issuer_name(self._intermediate.subject)
            .public_key(key)
            .serial_number(x509.random_serial_number())
            .not_valid_before(now + begins_in)
            .not_valid_after(now + ends_in)
            .add_extension(
                x509.SubjectAlternativeName([_alternative(name) for name in names]), critical=False
            )
            .add_extension(x509.BasicConstraints(ca=is_authority, path_length=None), critical=True)
            .add_extension(
                x509.ExtendedKeyUsage([x509.ExtendedKeyUsageOID.SERVER_AUTH]), critical=False
            )
            .sign(self._key, hashes.SHA256())
        )

    def _issue_authority(
        self,
        name: str,
        key: ec.EllipticCurvePrivateKey,
        issuer: x509.Certificate | None,
    ) -> x509.Certificate:
        now = datetime.datetime.now(datetime.timezone.utc)
        return (
            x509.CertificateBuilder()
            .subject_name(_name(name))
            .issuer_name(issuer.subject if issuer else _name(name))
            .public_key(key.public_key())
            .serial_number(x509.random_serial_number())
            .not_valid_before(now - datetime.timedelta(days=1))
            .not_valid_after(now + datetime.timedelta(days=90))
            .add_extension(x509.BasicConstraints(ca=True, path_length=None), critical=True)
            .sign(self._root_key, hashes.SHA256())
        )
