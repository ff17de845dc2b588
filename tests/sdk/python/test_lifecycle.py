import pytest
from databricks.sdk.errors import AlreadyExists, BadRequest, NotFound
from databricks.sdk.service.apps import (
    App,
    AppDeployment,
    AppDeploymentMode,
    AppDeploymentState,
    ApplicationState,
    ComputeState,
    EnvVar,
    GitRepository,
    GitSource,
)
from fake_workspace import SOURCE


def deployment(**fields):
    return AppDeployment(source_code_path=SOURCE, mode=AppDeploymentMode.SNAPSHOT, **fields)


def test_deploy_and_wait_runs_the_app(w, active):
    w.workspace.mkdirs(SOURCE)
    done = w.apps.deploy_and_wait("demo", deployment(command=["python", "app.py"]))
    assert (done.status.state, done.status.message) == (AppDeploymentState.SUCCEEDED, "App started successfully")
    app = w.apps.get("demo")
    assert app.app_status.state == ApplicationState.RUNNING
    assert app.active_deployment.deployment_id == done.deployment_id
    assert (app.active_deployment.command, app.default_source_code_path) == (["python", "app.py"], SOURCE)
    snapshot = f"/Workspace/Users/{app.service_principal_client_id}/src/{done.deployment_id}"
    assert done.deployment_artifacts.source_code_path == snapshot


def test_a_running_deployment_is_pending_and_keeps_another_out(sim, w, active):
    # So long that the wall clock can't end it before the test has looked.
    sim.fault(kind="durations", deploy="20h")
    w.workspace.mkdirs(SOURCE)
    begun = w.apps.deploy("demo", deployment()).response
    assert begun.status.state == AppDeploymentState.IN_PROGRESS
    app = w.apps.get("demo")
    assert app.pending_deployment.deployment_id == begun.deployment_id
    assert (app.active_deployment, app.app_status.state) == (None, ApplicationState.DEPLOYING)
    with pytest.raises(BadRequest, match="there is an active deployment in progress"):
        w.apps.deploy("demo", deployment())


def test_a_deploy_without_compute_is_refused(w, stopped):
    with pytest.raises(BadRequest, match="not in RUNNING state"):
        w.apps.deploy("demo", deployment())


def test_a_missing_source_fails_the_waiter(w, active):
    with pytest.raises(Exception, match=f"failed to reach SUCCEEDED.*{SOURCE} does not exist"):
        w.apps.deploy_and_wait("demo", deployment())


def test_values_of_variables_are_never_read_back(sim, w, running):
    given = deployment(env_vars=[EnvVar(name="PASSWORD", value="s3cret")])
    begun = w.apps.deploy("demo", given).response
    sim.advance("2m")
    app = w.apps.get("demo")
    assert app.active_deployment.deployment_id == begun.deployment_id
    shown = [app.active_deployment, w.apps.get_deployment("demo", begun.deployment_id)]
    shown += [d for d in w.apps.list_deployments("demo") if d.deployment_id == begun.deployment_id]
    for each in shown:
        assert each.env_vars == [EnvVar(name="PASSWORD")]


def test_deployments_are_listed_by_pages_the_newest_first(sim, w, running):
    ids = [running.active_deployment.deployment_id]
    for _ in range(3):
        ids.insert(0, w.apps.deploy("demo", deployment()).response.deployment_id)
        sim.advance("2m")
    assert [d.deployment_id for d in w.apps.list_deployments("demo", page_size=2)] == ids
    assert sim.counts("GET", "/api/2.0/apps/{name}/deployments") == {200: 2}


def test_a_git_deployment_shows_the_commit_that_it_resolved(sim, w):
    repository = GitRepository(provider="gitHub", url="https://github.com/example/apps")
    w.apps.create(App(name="demo", git_repository=repository))
    sim.advance("4m")
    w.apps.deploy("demo", AppDeployment(git_source=GitSource(branch="main", source_code_path="sales")))
    sim.advance("2m")
    source = w.apps.get("demo").active_deployment.git_source
    assert (source.branch, source.source_code_path, len(source.resolved_commit)) == ("main", "sales", 40)


def test_a_crash_shows_in_the_app_not_in_the_deployment(sim, w, active):
    sim.fault(kind="deployment_outcome", outcome="CRASHED", message="exit code 1")
    w.workspace.mkdirs(SOURCE)
    begun = w.apps.deploy("demo", deployment()).response
    sim.advance("2m")
    app = w.apps.get("demo")
    assert (app.app_status.state, app.app_status.message) == (ApplicationState.CRASHED, "exit code 1")
    assert w.apps.get_deployment("demo", begun.deployment_id).status.state == AppDeploymentState.SUCCEEDED


def test_stop_and_start_with_their_waiters_bring_the_last_deployment_back(sim, w, running):
    assert w.apps.stop_and_wait("demo").compute_status.state == ComputeState.STOPPED
    assert w.apps.get("demo").app_status.state == ApplicationState.UNAVAILABLE
    assert w.apps.start_and_wait("demo").compute_status.state == ComputeState.ACTIVE
    sim.advance("2m")
    app = w.apps.get("demo")
    assert app.app_status.state == ApplicationState.RUNNING
    assert app.active_deployment.source_code_path == SOURCE
    assert app.active_deployment.deployment_id != running.active_deployment.deployment_id


def test_a_start_that_fails_fails_the_waiter(sim, w, stopped):
    sim.fault(kind="start_outcome", message="no capacity")
    with pytest.raises(Exception, match="failed to reach ACTIVE, got ComputeState.ERROR: no capacity"):
        w.apps.start_and_wait("demo")


def test_stop_is_refused_while_an_app_is_starting(sim, w):
    sim.fault(kind="durations", create="20h")
    w.apps.create(App(name="demo"))
    with pytest.raises(BadRequest, match="not terminal with state STARTING"):
        w.apps.stop("demo")


def test_a_deleted_app_is_deleting_for_a_while_and_keeps_its_name(sim, w, running):
    # So long that the wall clock can't end it before the test has looked.
    sim.fault(kind="durations", delete="20h")
    assert w.apps.delete("demo").compute_status.state == ComputeState.DELETING
    with pytest.raises(BadRequest, match="not terminal with state DELETING"):
        w.apps.delete("demo")
    assert w.apps.get("demo").compute_status.state == ComputeState.DELETING
    assert [app.name for app in w.apps.list()] == ["demo"]
    with pytest.raises(AlreadyExists):
        w.apps.create(App(name="demo"))
    sim.advance("20h")
    with pytest.raises(NotFound):
        w.apps.get("demo")
    again = w.apps.create(App(name="demo"), no_compute=True).response
    assert again.id != running.id
    assert again.service_principal_client_id != running.service_principal_client_id


def test_a_deletion_ends_by_the_scaled_clock_alone(w, stopped):
    w.apps.delete("demo")
    w.apps.create_and_wait(App(name="meanwhile"))
    # 120 s of service time have passed by then: the wait above took 180.
    assert [app.name for app in w.apps.list()] == ["meanwhile"]
