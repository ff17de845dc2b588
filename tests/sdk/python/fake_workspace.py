"""A databricks-sim process of our own, its controls, and an issuer of identity tokens."""

import json
import os
import pathlib
import subprocess
import threading
import time
import urllib.error
import urllib.request
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import jwt
from cryptography.hazmat.primitives.asymmetric import rsa
from databricks.sdk import WorkspaceClient
from databricks.sdk.config import Config
from jwt.algorithms import RSAAlgorithm

ROOT = pathlib.Path(__file__).resolve().parents[3]
BINARY = os.environ.get("DATABRICKS_SIM") or ROOT / "target/debug/databricks-sim"
TOKEN = "dapi-ann"
ANN = "ann@example.com"
BOB = "bob@example.com"
CLIENT_ID = "11111111-2222-4333-8444-555555555555"
CLIENT_SECRET = "dose-secret"
FEDERATED_ID = "22222222-3333-4444-8555-666666666666"
EMBEDDED_ID = "33333333-4444-4555-8666-777777777777"
SUBJECT = "system:serviceaccount:apps:operator"
AUDIENCE = "databricks-sim"
SOURCE = "/Workspace/Users/ann@example.com/demo"
# A create takes 180 s there and 0.3 s here; waiters of the SDK then sleep once, for a second or two.
SCALE = 600


class Issuer:
    """Signs JSON Web Tokens, and shows its keys under /.well-known/openid-configuration on a loopback port."""

    def __init__(self):
        self._key = rsa.generate_private_key(public_exponent=65537, key_size=2048)
        self.keys = {"keys": [{**RSAAlgorithm.to_jwk(self._key.public_key(), as_dict=True), "kid": "one", "use": "sig"}]}
        issuer = self

        class Handler(BaseHTTPRequestHandler):
            def do_GET(self):
                documents = {
                    "/.well-known/openid-configuration": {"issuer": issuer.url, "jwks_uri": f"{issuer.url}/keys"},
                    "/keys": issuer.keys,
                }
                body = documents.get(self.path)
                self.send_response(200 if body else 404)
                self.end_headers()
                self.wfile.write(json.dumps(body).encode())

            def log_message(self, *_):
                pass

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self._server.server_port}"
        threading.Thread(target=self._server.serve_forever, daemon=True).start()

    def sign(self, key=None, **claims):
        """A token that fits the policies of the seed, but for the claims given; `key` stands in for the issuer's own."""
        now = int(time.time())
        fitting = {"iss": self.url, "sub": SUBJECT, "aud": AUDIENCE, "iat": now, "exp": now + 600}
        return jwt.encode({**fitting, **claims}, key or self._key, algorithm="RS256", headers={"kid": "one"})

    def stop(self):
        self._server.shutdown()
        self._server.server_close()


def seed(issuer):
    """Whom and what the workspace knows. JSON is YAML, too."""

    def trust(subject_of, **keys):
        policy = {"issuer": issuer.url, "subject": SUBJECT, "audiences": [AUDIENCE], **keys}
        return {"service_principal": subject_of, "oidc_policy": policy}

    return {
        "users": [{"user_name": BOB, "display_name": "Bob"}],
        "groups": [{"name": "analysts", "members": [ANN]}],
        "service_principals": [
            {"application_id": FEDERATED_ID, "display_name": "ci"},
            {"application_id": EMBEDDED_ID, "display_name": "embedded"},
        ],
        "warehouses": ["wh-1"],
        "secret_scopes": [{"name": "prod", "secrets": {"api-key": "s3cret"}}],
        "federation_policies": [trust(FEDERATED_ID), trust(EMBEDDED_ID, jwks_json=json.dumps(issuer.keys))],
    }


class FakeWorkspace:
    """The process. `stop` must be called, whatever happens."""

    def __init__(self, folder, issuer):
        path = folder / "seed.yaml"
        path.write_text(json.dumps(seed(issuer)))
        self._process = subprocess.Popen(
            [
                BINARY,
                "--listen=127.0.0.1:0",
                f"--time-scale={SCALE}",
                f"--seed={path}",
                f"--pat={TOKEN}={ANN}",
                f"--oauth-client={CLIENT_ID}:{CLIENT_SECRET}",
            ],
            stdout=subprocess.PIPE,
            text=True,
        )
        line = self._process.stdout.readline()
        if not line.startswith("listening on "):
            self.stop()
            raise RuntimeError(f"{BINARY} did not start; build it with `cargo build -p databricks-sim`")
        self.url = line.removeprefix("listening on ").strip()

    def stop(self):
        self._process.terminate()
        try:
            self._process.wait(timeout=10)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()

    def client(self, **settings):
        """A client of the SDK; by default Ann's, with her personal access token."""
        return WorkspaceClient(config=Config(host=self.url, **(settings or {"token": TOKEN})))

    def control(self, method, path, body=None):
        """A call to /sim; returns its JSON."""
        request = urllib.request.Request(
            f"{self.url}{path}", method=method, data=None if body is None else json.dumps(body).encode()
        )
        try:
            with urllib.request.urlopen(request, timeout=10) as answer:
                return json.load(answer)
        except urllib.error.HTTPError as refused:
            raise AssertionError(f"{method} {path}: {refused.read().decode()}") from refused

    def reset(self):
        self.control("POST", "/sim/reset")

    def fault(self, **fault):
        self.control("POST", "/sim/faults", fault)

    def advance(self, by):
        self.control("POST", "/sim/clock", {"advance": by})

    def counts(self, method, route):
        """How often a route was called, by status."""
        totals = self.control("GET", "/sim/requests")["totals"]
        return {t["status"]: t["count"] for t in totals if (t["method"], t["route"]) == (method, route)}

    def last(self, method, route):
        """The newest request to a route."""
        recent = self.control("GET", "/sim/requests")["recent"]
        return [r for r in recent if (r["method"], r["route"]) == (method, route)][-1]
