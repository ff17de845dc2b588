import json
import time
import urllib.request
from urllib.parse import urlsplit

import pytest
from cryptography.hazmat.primitives.asymmetric import rsa
from databricks.sdk.errors import Unauthenticated
from fake_workspace import ANN, CLIENT_ID, CLIENT_SECRET, EMBEDDED_ID, FEDERATED_ID, TOKEN

TOKEN_ROUTE = "/oidc/v1/token"


def document(sim, path):
    with urllib.request.urlopen(f"{sim.url}{path}", timeout=10) as answer:
        return json.load(answer)


def federated(sim, folder, token, **settings):
    """A client that exchanges the token in a file, as in a Kubernetes pod."""
    path = folder / "token"
    path.write_text(token)
    return sim.client(auth_type="file-oidc", oidc_token_filepath=str(path), **settings)


def test_a_personal_access_token_names_its_user_and_the_workspace(sim, w):
    assert w.current_user.me().user_name == ANN
    # Two fake workspaces on one machine have two ids.
    assert w.get_workspace_id() == 1234567890000000 + urlsplit(w.config.host).port
    assert w.config.auth_type == "pat"
    assert sim.last("GET", "/api/2.0/preview/scim/v2/Me")["user"] == ANN


def test_an_unknown_token_is_unauthenticated(sim):
    with pytest.raises(Unauthenticated, match="Invalid access token"):
        sim.client(token="dapi-nobody").current_user.me()


def test_discovery_fills_in_what_the_client_was_not_told(sim, w):
    known = document(sim, "/.well-known/databricks-config")
    assert (known["host_type"], known["cloud"]) == ("workspace", "AWS")
    assert w.config.account_id == known["account_id"]
    assert w.config.workspace_id == known["workspace_id"]
    assert w.config.discovery_url == f"{known['oidc_endpoint']}/.well-known/oauth-authorization-server"
    assert w.config.token_audience == known["token_federation_default_oidc_audiences"][0]


def test_both_discovery_documents_lead_to_the_token_endpoint(sim, w):
    expected = sim.url + TOKEN_ROUTE
    assert w.config.databricks_oidc_endpoints.token_endpoint == expected
    for name in ("oauth-authorization-server", "openid-configuration"):
        assert document(sim, f"/oidc/.well-known/{name}")["token_endpoint"] == expected


def test_a_client_secret_becomes_one_token_for_many_calls(sim):
    client = sim.client(client_id=CLIENT_ID, client_secret=CLIENT_SECRET)
    assert client.config.auth_type == "oauth-m2m"
    for _ in range(3):
        assert client.current_user.me().user_name == CLIENT_ID
    assert sim.counts("POST", TOKEN_ROUTE) == {200: 1}


def test_a_wrong_client_secret_is_refused(sim):
    with pytest.raises(ValueError, match="invalid_client"):
        sim.client(client_id=CLIENT_ID, client_secret="wrong").current_user.me()
    assert list(sim.counts("POST", TOKEN_ROUTE)) == [401]


def test_an_expired_token_is_replaced_by_the_sdk_and_unauthenticated_by_itself(sim):
    sim.fault(kind="token_lifetime", **{"for": "1s"})
    client = sim.client(client_id=CLIENT_ID, client_secret=CLIENT_SECRET)
    token = client.config.oauth_token().access_token
    alone = sim.client(token=token)
    deadline = time.monotonic() + 20
    with pytest.raises(Unauthenticated, match="The access token has expired"):
        while time.monotonic() < deadline:
            alone.current_user.me()
    assert client.current_user.me().user_name == CLIENT_ID
    assert sim.counts("POST", TOKEN_ROUTE)[200] >= 2


@pytest.mark.parametrize("principal", [FEDERATED_ID, EMBEDDED_ID], ids=["fetched keys", "embedded keys"])
def test_a_signed_token_of_a_trusted_issuer_is_exchanged(sim, tmp_path, issuer, principal):
    client = federated(sim, tmp_path, issuer.sign(), client_id=principal)
    assert client.current_user.me().user_name == principal
    assert client.config.auth_type == "file-oidc"


def test_a_token_in_the_environment_is_exchanged(sim, issuer, monkeypatch):
    monkeypatch.setenv("DATABRICKS_OIDC_TOKEN", issuer.sign())
    client = sim.client(auth_type="env-oidc", client_id=FEDERATED_ID)
    assert client.current_user.me().user_name == FEDERATED_ID


@pytest.mark.parametrize("principal", [FEDERATED_ID, EMBEDDED_ID], ids=["fetched keys", "embedded keys"])
def test_a_token_signed_by_somebody_else_is_refused(sim, tmp_path, issuer, principal):
    foreign = rsa.generate_private_key(public_exponent=65537, key_size=2048)
    with pytest.raises(ValueError, match="invalid_grant.*InvalidSignature"):
        federated(sim, tmp_path, issuer.sign(key=foreign), client_id=principal).current_user.me()
    assert list(sim.counts("POST", TOKEN_ROUTE)) == [400]


@pytest.mark.parametrize(
    "claims, reason",
    [
        ({"aud": "somebody-else"}, "InvalidAudience"),
        ({"sub": "system:serviceaccount:apps:other"}, "subject"),
        ({"exp": 1_000_000_000}, "ExpiredSignature"),
        ({"iss": "https://elsewhere.example.com"}, "no federation policy trusts issuer"),
    ],
    ids=["audience", "subject", "expiry", "issuer"],
)
def test_a_token_that_fits_no_policy_is_refused(sim, tmp_path, issuer, claims, reason):
    with pytest.raises(ValueError, match=f"invalid_grant.*{reason}"):
        federated(sim, tmp_path, issuer.sign(**claims), client_id=FEDERATED_ID).current_user.me()


def test_a_policy_of_one_service_principal_stands_for_no_other(sim, tmp_path, issuer):
    with pytest.raises(ValueError, match="no federation policy trusts issuer"):
        federated(sim, tmp_path, issuer.sign(), client_id=CLIENT_ID).current_user.me()


def test_no_secret_is_in_what_requests_show(sim):
    sim.client(client_id=CLIENT_ID, client_secret=CLIENT_SECRET).current_user.me()
    shown = json.dumps(sim.control("GET", "/sim/requests"))
    assert CLIENT_SECRET not in shown and TOKEN not in shown
