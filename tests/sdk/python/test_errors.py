import time

import pytest
from databricks.sdk import errors
from databricks.sdk.service.apps import App

GET_APP = "GET /api/2.0/apps/demo"
APP_ROUTE = "/api/2.0/apps/{name}"


@pytest.mark.parametrize(
    "status, code, expected",
    [
        (400, "BAD_REQUEST", errors.BadRequest),
        (400, "INVALID_STATE", errors.InvalidState),
        (400, "INVALID_PARAMETER_VALUE", errors.InvalidParameterValue),
        # The code wins over the status.
        (400, "RESOURCE_DOES_NOT_EXIST", errors.ResourceDoesNotExist),
        (401, "UNAUTHENTICATED", errors.Unauthenticated),
        (403, "PERMISSION_DENIED", errors.PermissionDenied),
        (404, "NOT_FOUND", errors.NotFound),
        (409, "ABORTED", errors.Aborted),
        (409, "ALREADY_EXISTS", errors.AlreadyExists),
        (409, "RESOURCE_ALREADY_EXISTS", errors.ResourceAlreadyExists),
        (409, "RESOURCE_CONFLICT", errors.ResourceConflict),
        (500, "INTERNAL_ERROR", errors.InternalError),
        (501, "NOT_IMPLEMENTED", errors.NotImplemented),
        (504, "DEADLINE_EXCEEDED", errors.DeadlineExceeded),
    ],
)
def test_a_code_of_the_service_becomes_its_exception(sim, w, stopped, status, code, expected):
    sim.fault(pattern=GET_APP, status_code=status, body={"error_code": code, "message": "no"})
    with pytest.raises(errors.DatabricksError) as refused:
        w.apps.get("demo")
    assert (type(refused.value), refused.value.error_code) == (expected, code)
    assert w.apps.get("demo").name == "demo"


@pytest.mark.parametrize(
    "shape, expected",
    [
        ("int_code", errors.NotFound),
        ("details", errors.ResourceDoesNotExist),
        ("scim", errors.NotFound),
        ("legacy", errors.NotFound),
        ("html", errors.NotFound),
        ("text", errors.ResourceDoesNotExist),
        ("empty", errors.NotFound),
    ],
)
def test_a_refusal_is_understood_in_every_shape(sim, w, shape, expected):
    sim.fault(kind="error_shape", pattern="GET /api/2.0/apps/*", shape=shape)
    with pytest.raises(errors.DatabricksError) as refused:
        w.apps.get("nope")
    assert type(refused.value) is expected
    if shape != "empty":
        assert "App with name nope does not exist" in str(refused.value)


def test_details_tell_the_request_and_when_to_come_back(sim, w):
    sim.fault(kind="error_shape", pattern="GET /api/2.0/apps/*", shape="details")
    with pytest.raises(errors.NotFound) as refused:
        w.apps.get("nope")
    details = refused.value.get_error_details()
    assert details.request_info.request_id == sim.last("GET", APP_ROUTE)["request_id"]
    assert details.error_info.reason == "RESOURCE_DOES_NOT_EXIST"
    assert details.retry_info.retry_delay_seconds == 3


@pytest.mark.parametrize("status", [429, 503])
@pytest.mark.parametrize("retry_after", [None, "2"], ids=["no header", "Retry-After"])
def test_the_sdk_waits_out_throttling_and_outages(sim, w, stopped, status, retry_after):
    headers = {} if retry_after is None else {"Retry-After": retry_after}
    sim.fault(pattern=GET_APP, status_code=status, headers=headers)
    began = time.monotonic()
    assert w.apps.get("demo").name == "demo"
    # Without the header the SDK takes one second.
    assert time.monotonic() - began >= int(retry_after or 1)
    assert sim.counts("GET", APP_ROUTE) == {status: 1, 200: 1}


@pytest.mark.parametrize("status", [500, 502, 504])
def test_the_sdk_does_not_repeat_other_failures(sim, w, stopped, status):
    sim.fault(pattern=GET_APP, status_code=status)
    with pytest.raises(errors.DatabricksError):
        w.apps.get("demo")
    assert sim.counts("GET", APP_ROUTE) == {status: 1}


def test_a_reset_connection_is_tried_again(sim, w, stopped):
    sim.fault(kind="reset", pattern=GET_APP)
    assert w.apps.get("demo").name == "demo"
    assert sim.counts("GET", APP_ROUTE) == {0: 1, 200: 1}


def test_a_create_whose_answer_is_lost_has_happened_and_its_repetition_conflicts(sim, w):
    sim.fault(kind="reset", pattern="POST /api/2.0/apps", when="after_commit")
    with pytest.raises(errors.AlreadyExists):
        w.apps.create(App(name="demo"), no_compute=True)
    assert w.apps.get("demo").name == "demo"
    assert sim.counts("POST", "/api/2.0/apps") == {200: 1, 409: 1}


def test_a_slow_answer_is_waited_for(sim, w, stopped):
    sim.fault(kind="latency", pattern=GET_APP, delay="1s")
    began = time.monotonic()
    assert w.apps.get("demo").name == "demo"
    assert time.monotonic() - began >= 1


def test_unknown_fields_everywhere_disturb_nobody(sim, w, running):
    sim.fault(kind="extra_fields")
    assert w.apps.get("demo").active_deployment.status.state.value == "SUCCEEDED"
    assert [app.name for app in w.apps.list()] == ["demo"]
    assert w.apps.get_permissions("demo").access_control_list
    assert w.current_user.me().user_name


def test_a_path_of_no_api_is_not_found(w):
    with pytest.raises(errors.NotFound, match="No API found for 'GET /api/2.0/no-such-api'"):
        w.api_client.do("GET", "/api/2.0/no-such-api")
