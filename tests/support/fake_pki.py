# SPDX-License-Identifier: Apache-2.0
"""A certificate authority for tests: server and client certificates, as PEM files in a folder."""
import datetime
import ipaddress
import pathlib

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

DAY = datetime.timedelta(days=1)


def general_name(text):
    """"email:a@b", "uri:spiffe://x", "dns:host", "ip:127.0.0.1"; without a prefix: an address or a name."""
    kind, colon, value = text.partition(":")
    if not colon or kind not in ("email", "uri", "dns", "ip"):
        value = text
        kind = "ip" if text.replace(".", "").isdigit() or "::" in text else "dns"
    return {"email": x509.RFC822Name, "uri": x509.UniformResourceIdentifier, "dns": x509.DNSName,
            "ip": lambda v: x509.IPAddress(ipaddress.ip_address(v))}[kind](value)


def pem_key(key):
    return key.private_bytes(serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8,
                             serialization.NoEncryption())


class Authority:
    """A self-signed CA, or an intermediate one when `parent` is given."""

    def __init__(self, name="test CA", parent=None):
        self.key = ec.generate_private_key(ec.SECP256R1())
        self.parent = parent
        self.name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name)])
        self.cert = self._sign(self.name, self.key.public_key(), parent, (
            (x509.BasicConstraints(ca=True, path_length=None), True),))

    def _sign(self, subject, public_key, issuer, extensions, not_before=None, not_after=None):
        now = datetime.datetime.now(datetime.timezone.utc)
        signer = issuer or self
        builder = (x509.CertificateBuilder().subject_name(subject).issuer_name(signer.name)
                   .public_key(public_key).serial_number(x509.random_serial_number())
                   .not_valid_before(not_before or now - DAY).not_valid_after(not_after or now + DAY))
        for extension, critical in extensions:
            builder = builder.add_extension(extension, critical)
        return builder.sign(signer.key, hashes.SHA256())

    @property
    def pem(self):
        return self.cert.public_bytes(serialization.Encoding.PEM)

    def issue(self, common_name, sans=(), units=(), client=False, not_before=None, not_after=None):
        """(certificate PEM, key PEM); the parents of an intermediate CA follow the certificate."""
        key = ec.generate_private_key(ec.SECP256R1())
        subject = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, common_name)] + [
            x509.NameAttribute(NameOID.ORGANIZATIONAL_UNIT_NAME, u) for u in units])
        usage = ExtendedKeyUsageOID.CLIENT_AUTH if client else ExtendedKeyUsageOID.SERVER_AUTH
        extensions = [(x509.ExtendedKeyUsage([usage]), False)]
        if sans:
            extensions.append((x509.SubjectAlternativeName([general_name(s) for s in sans]), False))
        cert = self._sign(subject, key.public_key(), self, extensions, not_before, not_after)
        chain = cert.public_bytes(serialization.Encoding.PEM)
        authority = self
        while authority.parent is not None:
            chain += authority.pem
            authority = authority.parent
        return chain, pem_key(key)

    def write(self, folder, stem, *args, **kwargs):
        """As issue, into folder/stem.crt and folder/stem.key; returns both paths."""
        folder = pathlib.Path(folder)
        cert, key = self.issue(*args, **kwargs)
        cert_path, key_path = folder / f"{stem}.crt", folder / f"{stem}.key"
        cert_path.write_bytes(cert)
        key_path.write_bytes(key)
        key_path.chmod(0o600)
        return cert_path, key_path
