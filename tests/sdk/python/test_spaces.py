import pytest
from databricks.sdk.common.types.fieldmask import FieldMask
from databricks.sdk.errors import InvalidParameterValue, NotFound, ResourceConflict
from databricks.sdk.service.apps import App, Space, SpaceStatusSpaceState


def test_a_space_is_created_changed_and_deleted_by_operations(w):
    operation = w.apps.create_space(Space(name="team", description="old", user_api_scopes=["sql"]))
    made = operation.wait()
    assert operation.done() and operation.name()
    assert (made.name, made.description, made.status.state) == ("team", "old", SpaceStatusSpaceState.SPACE_ACTIVE)
    changed = w.apps.update_space("team", Space(name="team", description="new"), FieldMask(["description"])).wait()
    assert (changed.description, changed.user_api_scopes) == ("new", ["sql"])
    assert w.apps.get_space("team").description == "new"
    with pytest.raises(ResourceConflict, match="already exists"):
        w.apps.create_space(Space(name="team"))
    w.apps.delete_space("team").wait()
    with pytest.raises(NotFound):
        w.apps.get_space("team")


def test_spaces_are_listed_in_pages(sim, w):
    for name in ("a", "b", "c"):
        w.apps.create_space(Space(name=name))
    assert [space.name for space in w.apps.list_spaces(page_size=2)] == ["a", "b", "c"]
    assert sim.counts("GET", "/api/2.0/app-spaces") == {200: 2}


def test_apps_of_a_space_share_its_service_principal_and_are_listed_by_it(w):
    space = w.apps.create_space(Space(name="team")).wait()
    app = w.apps.create(App(name="demo", space="team"), no_compute=True).response
    w.apps.create(App(name="alone"), no_compute=True)
    assert (app.space, app.service_principal_client_id) == ("team", space.service_principal_client_id)
    assert [app.name for app in w.apps.list(space="team")] == ["demo"]
    with pytest.raises(InvalidParameterValue, match="is in a space"):
        w.apps.create_update("demo", "resources", app=App(name="demo", resources=[]))
    with pytest.raises(Exception, match="still has apps, such as demo"):
        w.apps.delete_space("team")


def test_a_slow_operation_is_waited_for_and_a_failed_one_raises(sim, w):
    sim.fault(kind="space_operation", delay="30s", own_name=True, times=1)
    operation = w.apps.create_space(Space(name="team"))
    assert not operation.done() and operation.name() != "team"
    assert operation.wait().status.state == SpaceStatusSpaceState.SPACE_ACTIVE
    sim.fault(kind="space_operation", error_code="INTERNAL_ERROR", message="no capacity")
    changed = w.apps.update_space("team", Space(name="team", description="new"), FieldMask(["description"]))
    with pytest.raises(Exception, match=r"operation failed: .*INTERNAL_ERROR\] no capacity"):
        changed.wait()
    assert w.apps.get_space("team").status.state == SpaceStatusSpaceState.SPACE_ACTIVE
