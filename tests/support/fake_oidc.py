# SPDX-License-Identifier: Apache-2.0
"""An OIDC issuer: discovery, keys that rotate, tokens minted with whatever a test wants in them.

    with FakeOidc() as issuer:
        token = issuer.mint(aud="client", sub="alice", groups=["sre"])            # RS256, valid 5 minutes
        issuer.mint(alg="ES256", kid=None, exp=-60, nbf=360, aud="client")        # times relative to now
        issuer.rotate()                                                           # new keys, new kids
"""
import base64
import hashlib
import hmac
import json
import secrets
import time
import urllib.parse

from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, padding, rsa
from cryptography.hazmat.primitives.asymmetric.utils import decode_dss_signature

from fake_http import FakeHttp

HASHES = {"256": hashes.SHA256, "384": hashes.SHA384, "512": hashes.SHA512}
CURVES = {"ES256": (ec.SECP256R1, "P-256", 32), "ES384": (ec.SECP384R1, "P-384", 48),
          "ES512": (ec.SECP521R1, "P-521", 66)}
ALGS = ["RS256", "RS384", "RS512", "PS256", "PS384", "PS512", *CURVES, "EdDSA"]


def b64(data):
    return base64.urlsafe_b64encode(data).rstrip(b"=").decode()


def b64_int(value, size=None):
    return b64(value.to_bytes(size or (value.bit_length() + 7) // 8, "big"))


class Key:
    """A private key with its kid; `alg` picks the kind (RS* and PS* share one RSA key)."""

    def __init__(self, alg, kid=None):
        self.kid = kid or secrets.token_hex(6)
        if alg in CURVES:
            self.private = ec.generate_private_key(CURVES[alg][0]())
        elif alg == "EdDSA":
            self.private = ed25519.Ed25519PrivateKey.generate()
        else:
            self.private = rsa.generate_private_key(public_exponent=65537, key_size=2048)
        self.alg = alg

    def jwk(self):
        out = {"kid": self.kid, "use": "sig"}
        if isinstance(self.private, rsa.RSAPrivateKey):
            n = self.private.public_key().public_numbers()
            return {**out, "kty": "RSA", "n": b64_int(n.n), "e": b64_int(n.e)}
        if isinstance(self.private, ec.EllipticCurvePrivateKey):
            n = self.private.public_key().public_numbers()
            _, name, size = CURVES[self.alg]
            return {**out, "kty": "EC", "crv": name, "alg": self.alg, "x": b64_int(n.x, size),
                    "y": b64_int(n.y, size)}
        return {**out, "kty": "OKP", "crv": "Ed25519", "alg": "EdDSA",
                "x": b64(self.private.public_key().public_bytes_raw())}

    def sign(self, alg, data):
        if alg == "EdDSA":
            return self.private.sign(data)
        digest = HASHES[alg[2:]]()
        if alg.startswith("ES"):
            r, s = decode_dss_signature(self.private.sign(data, ec.ECDSA(digest)))
            size = CURVES[alg][2]
            return r.to_bytes(size, "big") + s.to_bytes(size, "big")
        if alg.startswith("PS"):
            return self.private.sign(data, padding.PSS(padding.MGF1(digest), digest.digest_size), digest)
        return self.private.sign(data, padding.PKCS1v15(), digest)


class FakeOidc(FakeHttp):
    def __init__(self, client_id="client", **kwargs):
        self.client_id = client_id
        self.client_secret = "client-secret"
        self.algs = list(ALGS)        # id_token_signing_alg_values_supported
        self.issuer_override = None   # an issuer in the document that is not our URL
        self.login_claims = {"sub": "browser"}
        self.codes = {}
        self.rotate()
        super().__init__(**kwargs)

    def rotate(self, keep_old=False):
        fresh = {kind: Key(kind) for kind in ("RSA", "ES256", "ES384", "ES512", "EdDSA")}
        self.published = list(fresh.values()) + (self.published if keep_old else [])
        self.keys = fresh

    @property
    def jwks(self):
        return {"keys": [k.jwk() for k in self.published]}

    # ---- tokens ----

    def mint(self, alg="RS256", kid=True, key=None, header=None, exp=300, nbf=None, iat=0, iss=None,
             aud=True, **claims):
        """A token. kid True: the key's own, None: none. exp, nbf, iat: seconds from now, None: none.
        aud True: the client id. Further claims as given; None removes one."""
        now = int(time.time())
        key = key or self.keys.get(alg) or self.keys["RSA"]
        head = {"alg": alg, "typ": "JWT"}
        if kid is not None:
            head["kid"] = key.kid if kid is True else kid
        head.update(header or {})
        body = {"iss": iss or self.url, "sub": "subject", "aud": self.client_id if aud is True else aud}
        for name, value in (("exp", exp), ("nbf", nbf), ("iat", iat)):
            if value is not None:
                body[name] = now + value
        body.update(claims)
        body = {k: v for k, v in body.items() if v is not None}
        signed = b64(json.dumps(head).encode()) + "." + b64(json.dumps(body).encode())
        return signed + "." + b64(self.signature(alg, key, signed.encode()))

    @staticmethod
    def signature(alg, key, data):
        if alg == "none":
            return b""
        if alg.startswith("HS"):  # the classic confusion: the public key as the secret
            secret = json.dumps(key.jwk()).encode() if isinstance(key, Key) else key
            return hmac.new(secret, data, "sha" + alg[2:]).digest()
        return key.sign(alg, data)

    # ---- endpoints ----

    def handle(self, call):
        if call.route == "/.well-known/openid-configuration":
            return 200, {"issuer": self.issuer_override or self.url,
                         "authorization_endpoint": self.url + "/authorize",
                         "token_endpoint": self.url + "/token", "jwks_uri": self.url + "/jwks",
                         "id_token_signing_alg_values_supported": self.algs}
        if call.route == "/jwks":
            return 200, self.jwks
        if call.route == "/authorize":
            code = secrets.token_urlsafe(16)
            self.codes[code] = call.query
            uri = call.query["redirect_uri"]
            uri += ("&" if "?" in uri else "?") + urllib.parse.urlencode(
                {"code": code, "state": call.query.get("state", "")})
            return 302, b"", {"Location": uri}
        if call.route == "/token" and call.method == "POST":
            return self.exchange(call)
        return 404, {"error": "not_found"}

    def client_of(self, call):
        """Basic authentication, or client_id and client_secret in the form."""
        scheme, _, value = call.headers.get("Authorization", "").partition(" ")
        if scheme == "Basic":
            user, _, password = base64.b64decode(value).decode().partition(":")
            return urllib.parse.unquote_plus(user), urllib.parse.unquote_plus(password)
        return call.form.get("client_id"), call.form.get("client_secret")

    def exchange(self, call):
        asked = self.codes.pop(call.form.get("code"), None)
        if asked is None or call.form.get("redirect_uri") != asked.get("redirect_uri") or \
                self.client_of(call) != (self.client_id, self.client_secret):
            return 400, {"error": "invalid_grant"}
        claims = dict(self.login_claims)
        if "nonce" in asked:
            claims.setdefault("nonce", asked["nonce"])
        if "code_challenge" in asked:
            digest = hashlib.sha256(call.form.get("code_verifier", "").encode()).digest()
            if b64(digest) != asked["code_challenge"]:
                return 400, {"error": "invalid_grant", "error_description": "code_verifier"}
        return 200, {"access_token": "opaque", "token_type": "Bearer", "expires_in": 300,
                     "id_token": self.mint(**claims)}
