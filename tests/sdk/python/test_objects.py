import base64

import pytest
from databricks.sdk.errors import BadRequest, InvalidParameterValue, NotFound, ResourceAlreadyExists, ResourceDoesNotExist
from databricks.sdk.service.compute import Environment
from databricks.sdk.service.iam import AccessControlRequest, PermissionLevel
from databricks.sdk.service.jobs import JobEnvironment, JobSettings, SparkPythonTask, Task
from databricks.sdk.service.sql import State
from databricks.sdk.service.workspace import AclPermission
from fake_workspace import ANN, BOB


def test_warehouses_are_created_edited_turned_off_and_on_and_deleted(w):
    made = w.warehouses.create_and_wait(name="small", cluster_size="2X-Small", auto_stop_mins=10, max_num_clusters=1)
    assert (made.state, made.name, made.auto_stop_mins) == (State.RUNNING, "small", 10)
    edited = w.warehouses.edit_and_wait(made.id, name="small", cluster_size="Small", auto_stop_mins=20)
    assert (edited.cluster_size, edited.auto_stop_mins) == ("Small", 20)
    assert w.warehouses.stop_and_wait(made.id).state == State.STOPPED
    assert w.warehouses.start_and_wait(made.id).state == State.RUNNING
    assert {warehouse.id for warehouse in w.warehouses.list()} == {"wh-1", made.id}
    owner = w.warehouses.get_permissions(made.id).access_control_list[0]
    assert (owner.user_name, owner.all_permissions[0].permission_level.value) == (ANN, "IS_OWNER")
    w.warehouses.delete(made.id)
    with pytest.raises(NotFound):
        w.warehouses.get(made.id)


def test_a_name_of_a_warehouse_is_taken_once(w):
    w.warehouses.create(name="small")
    with pytest.raises(BadRequest, match="already exists"):
        w.warehouses.create(name="small")


def task():
    return Task(task_key="main", environment_key="e", spark_python_task=SparkPythonTask(python_file="/Workspace/a.py"))


def test_jobs_are_created_replaced_changed_run_and_deleted(w):
    environment = JobEnvironment(environment_key="e", spec=Environment(client="2"))
    job_id = w.jobs.create(name="nightly", tasks=[task()], environments=[environment], tags={"team": "a"}).job_id
    job = w.jobs.get(job_id)
    assert (job.settings.name, job.creator_user_name, job.settings.max_concurrent_runs) == ("nightly", ANN, 1)
    assert job.settings.tasks[0].spark_python_task.python_file == "/Workspace/a.py"
    w.jobs.update(job_id, new_settings=JobSettings(description="x"), fields_to_remove=["tags"])
    changed = w.jobs.get(job_id).settings
    assert (changed.name, changed.description, changed.tags) == ("nightly", "x", None)
    w.jobs.reset(job_id, JobSettings(name="weekly"))
    assert (w.jobs.get(job_id).settings.name, w.jobs.get(job_id).settings.description) == ("weekly", None)
    run = w.jobs.run_now(job_id).result()
    assert (run.job_id, run.state.result_state.value) == (job_id, "SUCCESS")
    w.jobs.delete(job_id)
    # 400 INVALID_PARAMETER_VALUE on the wire, which the SDK takes for what it means.
    with pytest.raises(ResourceDoesNotExist, match="does not exist"):
        w.jobs.get(job_id)


def test_jobs_are_listed_in_pages_and_by_name(sim, w):
    ids = {w.jobs.create(name=f"job-{n % 2}").job_id for n in range(5)}
    assert {job.job_id for job in w.jobs.list(limit=2)} == ids
    assert sim.counts("GET", "/api/2.2/jobs/list") == {200: 3}
    assert {job.settings.name for job in w.jobs.list(name="JOB-1")} == {"job-1"}


def test_a_job_has_exactly_one_owner(w):
    job_id = str(w.jobs.create(name="nightly").job_id)
    nobody = [AccessControlRequest(user_name=BOB, permission_level=PermissionLevel.CAN_VIEW)]
    with pytest.raises(InvalidParameterValue, match="exactly one owner"):
        w.permissions.set("jobs", job_id, access_control_list=nobody)
    owner = [AccessControlRequest(user_name=BOB, permission_level=PermissionLevel.IS_OWNER)]
    w.permissions.set("jobs", job_id, access_control_list=owner)
    assert w.permissions.get("jobs", job_id).access_control_list[0].user_name == BOB


def test_secret_scopes_hold_secrets(w):
    w.secrets.create_scope("team")
    with pytest.raises(ResourceAlreadyExists, match="Scope team already exists"):
        w.secrets.create_scope("team")
    w.secrets.put_secret("team", "text", string_value="one")
    w.secrets.put_secret("team", "bytes", bytes_value=base64.b64encode(b"\x00two").decode())
    assert {scope.name for scope in w.secrets.list_scopes()} == {"prod", "team"}
    listed = {secret.key: secret.last_updated_timestamp for secret in w.secrets.list_secrets("team")}
    assert listed.keys() == {"text", "bytes"} and all(listed.values())
    assert base64.b64decode(w.secrets.get_secret("team", "text").value) == b"one"
    assert base64.b64decode(w.secrets.get_secret("team", "bytes").value) == b"\x00two"
    w.secrets.delete_secret("team", "text")
    with pytest.raises(ResourceDoesNotExist):
        w.secrets.get_secret("team", "text")
    w.secrets.delete_scope("team")
    with pytest.raises(ResourceDoesNotExist, match="Scope team does not exist"):
        list(w.secrets.list_secrets("team"))


def test_secret_scopes_have_access_lists(w):
    w.secrets.create_scope("team")
    w.secrets.put_acl("team", "analysts", AclPermission.READ)
    w.secrets.put_acl("team", BOB, AclPermission.WRITE)
    listed = {item.principal: item.permission for item in w.secrets.list_acls("team")}
    assert listed == {ANN: AclPermission.MANAGE, BOB: AclPermission.WRITE, "analysts": AclPermission.READ}
    assert w.secrets.get_acl("team", BOB).permission == AclPermission.WRITE
    w.secrets.delete_acl("team", BOB)
    with pytest.raises(ResourceDoesNotExist):
        w.secrets.get_acl("team", BOB)
