import pytest
from databricks.sdk.errors import InvalidParameterValue, NotFound
from databricks.sdk.service.apps import AppAccessControlRequest, AppPermissionLevel
from databricks.sdk.service.iam import AccessControlRequest, PermissionLevel
from fake_workspace import ANN, BOB, FEDERATED_ID

USE, MANAGE = AppPermissionLevel.CAN_USE, AppPermissionLevel.CAN_MANAGE


def direct(acl):
    """Direct entries: principal and level."""
    return {
        (entry.user_name or entry.group_name or entry.service_principal_name): permission.permission_level
        for entry in acl.access_control_list
        for permission in entry.all_permissions
        if not permission.inherited
    }


def test_a_fresh_app_belongs_to_its_creator_and_to_admins_by_inheritance(w, stopped):
    acl = w.apps.get_permissions("demo")
    assert (acl.object_id, acl.object_type) == ("/apps/demo", "apps")
    assert direct(acl) == {ANN: MANAGE}
    admins = [entry for entry in acl.access_control_list if entry.group_name == "admins"]
    assert admins[0].all_permissions[0].inherited
    assert admins[0].all_permissions[0].inherited_from_object == ["/apps/"]


def test_set_replaces_and_update_adds(w, stopped):
    both = [
        AppAccessControlRequest(user_name=ANN, permission_level=MANAGE),
        AppAccessControlRequest(group_name="analysts", permission_level=USE),
    ]
    assert direct(w.apps.set_permissions("demo", access_control_list=both)) == {ANN: MANAGE, "analysts": USE}
    more = [
        AppAccessControlRequest(service_principal_name=FEDERATED_ID, permission_level=USE),
        AppAccessControlRequest(group_name="analysts", permission_level=MANAGE),
    ]
    changed = w.apps.update_permissions("demo", access_control_list=more)
    assert direct(changed) == {ANN: MANAGE, "analysts": MANAGE, FEDERATED_ID: USE}
    w.apps.set_permissions("demo", access_control_list=both[:1])
    assert direct(w.apps.get_permissions("demo")) == {ANN: MANAGE}


def test_the_last_entry_of_a_principal_wins(w, stopped):
    twice = [AppAccessControlRequest(user_name=BOB, permission_level=level) for level in (MANAGE, USE)]
    assert direct(w.apps.set_permissions("demo", access_control_list=twice)) == {BOB: USE}


def test_levels_are_named_and_explained(w, stopped):
    levels = w.apps.get_permission_levels("demo").permission_levels
    assert [level.permission_level for level in levels] == [USE, MANAGE]
    assert all(level.description for level in levels)


def test_an_unknown_principal_is_refused_by_name_and_nothing_changes(w, stopped):
    wanted = [
        AppAccessControlRequest(user_name=BOB, permission_level=USE),
        AppAccessControlRequest(group_name="nobody", permission_level=USE),
    ]
    with pytest.raises(NotFound, match=r"GroupName\(nobody\) does not exist"):
        w.apps.update_permissions("demo", access_control_list=wanted)
    assert direct(w.apps.get_permissions("demo")) == {ANN: MANAGE}


def test_the_general_permissions_api_shows_the_same_list(w, stopped):
    w.permissions.update(
        "apps",
        "demo",
        access_control_list=[AccessControlRequest(user_name=BOB, permission_level=PermissionLevel.CAN_USE)],
    )
    assert direct(w.apps.get_permissions("demo")) == {ANN: MANAGE, BOB: USE}
    assert direct(w.permissions.get("apps", "demo")).keys() == {ANN, BOB}


def test_a_put_without_the_caller_passes_is_refused_or_locks_the_caller_out(sim, w, stopped):
    bob = [AppAccessControlRequest(user_name=BOB, permission_level=MANAGE)]
    assert direct(w.apps.set_permissions("demo", access_control_list=bob)) == {BOB: MANAGE}
    sim.fault(kind="put_without_caller_refused", times=1)
    with pytest.raises(Exception, match="Cannot remove the permissions of the caller"):
        w.apps.set_permissions("demo", access_control_list=bob)
    sim.fault(kind="caller_lockout")
    w.apps.set_permissions("demo", access_control_list=bob)
    with pytest.raises(Exception, match="does not have CAN_MANAGE"):
        w.apps.set_permissions("demo", access_control_list=bob)


def test_a_level_of_another_type_is_an_invalid_value(w, stopped):
    with pytest.raises(InvalidParameterValue, match="CAN_RUN is not a valid permission level"):
        w.permissions.update(
            "apps",
            "demo",
            access_control_list=[AccessControlRequest(user_name=BOB, permission_level=PermissionLevel.CAN_RUN)],
        )
