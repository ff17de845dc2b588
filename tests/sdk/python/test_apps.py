import pytest
from databricks.sdk.errors import (
    AlreadyExists,
    BadRequest,
    InvalidParameterValue,
    NotFound,
    ResourceDoesNotExist,
)
from databricks.sdk.service.apps import (
    App,
    AppResource,
    AppResourceSecret,
    AppResourceSecretSecretPermission,
    AppResourceSqlWarehouse,
    AppResourceSqlWarehouseSqlWarehousePermission,
    AppUpdateUpdateStatusUpdateState,
    ComputeSize,
    ComputeState,
)
from fake_workspace import ANN


def names(apps):
    return [app.name for app in apps]


def test_create_and_wait_ends_with_active_compute(w):
    app = w.apps.create_and_wait(App(name="demo", description="first"))
    assert app.compute_status.state == ComputeState.ACTIVE
    assert (app.creator, app.description, app.compute_size) == (ANN, "first", ComputeSize.MEDIUM)
    assert app.url.startswith(f"https://demo-{w.get_workspace_id()}.")
    assert w.service_principals_v2.get(str(app.service_principal_id)).application_id == app.service_principal_client_id


def test_an_app_without_compute_stays_stopped_and_the_waiter_of_the_sdk_says_so(stopped, w):
    assert stopped.compute_status.state == ComputeState.STOPPED
    # A fault of the SDK: its waiter takes STOPPED for a failure even after no_compute.
    with pytest.raises(Exception, match="failed to reach ACTIVE, got ComputeState.STOPPED"):
        w.apps.create_and_wait(App(name="other"), no_compute=True)
    assert names(w.apps.list()) == ["demo", "other"]


def test_what_was_created_is_read_back(w):
    wanted = App(
        name="demo",
        description="sales",
        user_api_scopes=["sql"],
        resources=[
            AppResource(
                name="wh",
                sql_warehouse=AppResourceSqlWarehouse(
                    id="wh-1", permission=AppResourceSqlWarehouseSqlWarehousePermission.CAN_USE
                ),
            ),
            AppResource(
                name="key",
                secret=AppResourceSecret(
                    scope="prod", key="api-key", permission=AppResourceSecretSecretPermission.READ
                ),
            ),
        ],
    )
    w.apps.create(wanted, no_compute=True)
    app = w.apps.get("demo")
    assert (app.description, app.user_api_scopes, app.resources) == (
        wanted.description,
        wanted.user_api_scopes,
        wanted.resources,
    )
    assert set(app.effective_user_api_scopes) == {"sql", "iam.access-control:read", "iam.current-user:read"}
    principal = app.service_principal_client_id
    warehouse = w.warehouses.get_permissions("wh-1").access_control_list
    assert principal in [entry.service_principal_name for entry in warehouse]
    assert w.secrets.get_acl("prod", principal).permission.value == "READ"


def test_a_taken_name_is_already_exists(w, stopped):
    with pytest.raises(AlreadyExists, match="An app with the same name already exists"):
        w.apps.create(App(name="demo"))


def test_a_bad_name_and_a_dangling_reference_are_refused_by_type(w):
    with pytest.raises(InvalidParameterValue, match="Invalid app name"):
        w.apps.create(App(name="Not_A_Name"))
    missing = AppResource(
        name="wh",
        sql_warehouse=AppResourceSqlWarehouse(
            id="nope", permission=AppResourceSqlWarehouseSqlWarehousePermission.CAN_USE
        ),
    )
    with pytest.raises(ResourceDoesNotExist, match="nope"):
        w.apps.create(App(name="demo", resources=[missing]))
    assert names(w.apps.list()) == []


def test_an_app_that_is_not_there_is_not_found(w):
    with pytest.raises(NotFound, match="App with name nope does not exist or is deleted."):
        w.apps.get("nope")


def test_list_follows_the_pages(sim, w):
    expected = [f"app-{n:02}" for n in range(7)]
    for name in expected:
        w.apps.create(App(name=name), no_compute=True)
    assert names(w.apps.list(page_size=3)) == expected
    assert sim.counts("GET", "/api/2.0/apps") == {200: 3}


def test_an_empty_page_in_the_middle_ends_no_list(sim, w):
    for name in ("one", "two", "zero"):
        w.apps.create(App(name=name), no_compute=True)
    sim.fault(kind="empty_page", pattern="GET /api/2.0/apps")
    assert names(w.apps.list(page_size=1)) == ["one", "two", "zero"]


def test_a_row_lacks_the_app_status_that_get_shows(w, running):
    row = next(iter(w.apps.list()))
    assert row.app_status is None and row.compute_status.state == ComputeState.ACTIVE
    assert w.apps.get("demo").app_status.state.value == "RUNNING"


def test_an_update_changes_what_its_mask_names_and_nothing_else(w):
    w.apps.create(App(name="demo", description="old", user_api_scopes=["sql"]), no_compute=True)
    given = App(name="demo", description="new", user_api_scopes=["files.files"])
    begun = w.apps.create_update("demo", "description", app=given)
    assert begun.response.status.state == AppUpdateUpdateStatusUpdateState.IN_PROGRESS
    update = begun.result()
    assert (update.status.state, update.description) == (AppUpdateUpdateStatusUpdateState.SUCCEEDED, "new")
    app = w.apps.get("demo")
    assert (app.description, app.user_api_scopes) == ("new", ["sql"])
    assert w.apps.get_update("demo").status.state == AppUpdateUpdateStatusUpdateState.SUCCEEDED


def test_before_any_update_there_is_none(w, stopped):
    assert w.apps.get_update("demo").status.state == AppUpdateUpdateStatusUpdateState.NOT_UPDATED


def test_a_masked_field_without_a_value_falls_back_to_its_default(w):
    w.apps.create(App(name="demo", compute_size=ComputeSize.LARGE), no_compute=True)
    w.apps.create_update_and_wait("demo", "compute_size", app=App(name="demo"))
    assert w.apps.get("demo").compute_size == ComputeSize.MEDIUM


def test_a_mask_outside_the_allow_list_is_refused(w, stopped):
    for mask in ("*", "name", "description, resources"):
        with pytest.raises(InvalidParameterValue, match="Invalid update mask"):
            w.apps.create_update("demo", mask, app=App(name="demo"))


def test_a_new_size_takes_active_compute_through_updating(sim, w, active):
    # So long that the wall clock can't end it before the test has looked.
    sim.fault(kind="durations", resize="20h")
    w.apps.create_update("demo", "compute_size", app=App(name="demo", compute_size=ComputeSize.LARGE))
    assert w.apps.get("demo").compute_status.state == ComputeState.UPDATING
    sim.advance("20h")
    app = w.apps.get("demo")
    assert (app.compute_status.state, app.compute_size) == (ComputeState.ACTIVE, ComputeSize.LARGE)


def test_a_failed_update_fails_the_waiter_and_changes_nothing(sim, w, stopped):
    sim.fault(kind="update_outcome", outcome="FAILED", message="internal error")
    with pytest.raises(Exception, match="failed to reach SUCCEEDED.*internal error"):
        w.apps.create_update_and_wait("demo", "description", app=App(name="demo", description="x"))
    assert w.apps.get("demo").description == ""


def test_patch_replaces_everything_that_it_leaves_out(w):
    w.apps.create(App(name="demo", description="old", user_api_scopes=["sql"]), no_compute=True)
    w.apps.update("demo", App(name="demo", description="new"))
    app = w.apps.get("demo")
    assert (app.description, app.user_api_scopes) == ("new", None)


def test_patch_refuses_a_compute_size_even_the_one_that_is_set(w, stopped):
    with pytest.raises(InvalidParameterValue, match="Please use the new update API instead"):
        w.apps.update("demo", App(name="demo", compute_size=ComputeSize.MEDIUM))


def test_the_quota_is_a_bad_request(sim, w):
    sim.fault(
        pattern="POST /api/2.0/apps",
        status_code=400,
        body={"error_code": "RESOURCE_LIMIT_EXCEEDED", "message": "The maximum number of apps is 1."},
    )
    with pytest.raises(BadRequest, match="maximum number of apps"):
        w.apps.create(App(name="demo"))
