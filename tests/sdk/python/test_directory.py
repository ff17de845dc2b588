import pytest
from databricks.sdk.errors import NotFound, ResourceConflict
from databricks.sdk.service.iam import ComplexValue, Patch, PatchOp, PatchSchema
from fake_workspace import ANN, BOB, CLIENT_ID, CLIENT_SECRET, EMBEDDED_ID, FEDERATED_ID


def test_me_has_groups_and_addresses(w):
    me = w.current_user.me()
    assert (me.user_name, me.active, me.emails[0].value) == (ANN, True, ANN)
    assert {group.display for group in me.groups} == {"users", "analysts"}


def test_a_service_principal_is_me_by_its_application_id(sim):
    me = sim.client(client_id=CLIENT_ID, client_secret=CLIENT_SECRET).current_user.me()
    assert me.user_name == CLIENT_ID


def test_users_are_found_by_name_and_listed_in_pages(sim, w):
    (bob,) = w.users_v2.list(filter=f'userName eq "{BOB.upper()}"')
    assert (bob.user_name, bob.display_name) == (BOB, "Bob")
    assert w.users_v2.get(bob.id).user_name == BOB
    assert {user.user_name for user in w.users_v2.list(count=1)} == {ANN, BOB}
    assert sim.counts("GET", "/api/2.0/preview/scim/v2/{kind}")[200] >= 3


def test_a_user_is_created_once_changed_and_deleted(w):
    eve = w.users_v2.create(user_name="eve@example.com", display_name="Eve")
    with pytest.raises(ResourceConflict, match="already exists"):
        w.users_v2.create(user_name="eve@example.com")
    rename = Patch(op=PatchOp.REPLACE, path="displayName", value="Evelyn")
    w.users_v2.patch(eve.id, operations=[rename], schemas=[PatchSchema.URN_IETF_PARAMS_SCIM_API_MESSAGES_2_0_PATCH_OP])
    assert w.users_v2.get(eve.id).display_name == "Evelyn"
    w.users_v2.delete(eve.id)
    with pytest.raises(NotFound):
        w.users_v2.get(eve.id)


def test_groups_hold_members(w):
    (bob,) = w.users_v2.list(filter=f'userName eq "{BOB}"')
    group = w.groups_v2.create(display_name="ops", members=[ComplexValue(value=bob.id)])
    assert [member.value for member in w.groups_v2.get(group.id).members] == [bob.id]
    assert "ops" in {g.display for g in w.users_v2.get(bob.id).groups}
    leave = Patch(op=PatchOp.REMOVE, path=f'members[value eq "{bob.id}"]')
    w.groups_v2.patch(group.id, operations=[leave], schemas=[PatchSchema.URN_IETF_PARAMS_SCIM_API_MESSAGES_2_0_PATCH_OP])
    assert not w.groups_v2.get(group.id).members
    names = {g.display_name for g in w.groups_v2.list(attributes="displayName")}
    assert names == {"admins", "users", "analysts", "ops"}
    w.groups_v2.delete(group.id)
    assert not list(w.groups_v2.list(filter='displayName eq "ops"'))


def test_service_principals_are_found_by_application_id(w):
    (found,) = w.service_principals_v2.list(filter=f'applicationId eq "{FEDERATED_ID}"')
    assert (found.application_id, found.display_name) == (FEDERATED_ID, "ci")
    made = w.service_principals_v2.create(display_name="new")
    ids = {principal.application_id for principal in w.service_principals_v2.list(count=2)}
    assert ids == {CLIENT_ID, FEDERATED_ID, EMBEDDED_ID, made.application_id}
    w.service_principals_v2.delete(made.id)
    with pytest.raises(NotFound):
        w.service_principals_v2.get(made.id)


def test_a_secret_made_for_a_service_principal_lets_it_in(sim, w):
    (principal,) = w.service_principals_v2.list(filter=f'applicationId eq "{FEDERATED_ID}"')
    made = w.service_principal_secrets_proxy.create(principal.id, lifetime="3600s")
    client = sim.client(client_id=FEDERATED_ID, client_secret=made.secret)
    assert client.current_user.me().user_name == FEDERATED_ID
    listed = list(w.service_principal_secrets_proxy.list(principal.id))
    assert [secret.id for secret in listed] == [made.id]
    w.service_principal_secrets_proxy.delete(principal.id, made.id)
    with pytest.raises(ValueError, match="invalid_client"):
        sim.client(client_id=FEDERATED_ID, client_secret=made.secret).current_user.me()
