import os
import signal

import pytest

# Nothing of the machine's own configuration or proxies may take part.
for name in [n for n in os.environ if n.startswith("DATABRICKS_") and n != "DATABRICKS_SIM"]:
    del os.environ[name]
os.environ["DATABRICKS_CONFIG_FILE"] = os.devnull
os.environ["NO_PROXY"] = os.environ["no_proxy"] = "127.0.0.1"

from fake_workspace import SOURCE, FakeWorkspace, Issuer  # noqa: E402

from databricks.sdk.service.apps import App, AppDeployment  # noqa: E402
from databricks.sdk.service.workspace import ImportFormat  # noqa: E402

# So that fixtures end what they started also when the run is stopped from outside.
signal.signal(signal.SIGTERM, lambda *_: pytest.exit("terminated", returncode=143))


@pytest.fixture(scope="session")
def issuer():
    issuer = Issuer()
    yield issuer
    issuer.stop()


@pytest.fixture(scope="session")
def process(tmp_path_factory, issuer):
    process = FakeWorkspace(tmp_path_factory.mktemp("sim"), issuer)
    yield process
    process.stop()


@pytest.fixture
def sim(process):
    """The fake workspace as it was seeded."""
    process.reset()
    return process


@pytest.fixture
def w(sim):
    """Ann's client."""
    return sim.client()


@pytest.fixture
def stopped(w):
    """An app without compute."""
    return w.apps.create(App(name="demo"), no_compute=True).response


@pytest.fixture
def active(sim, w):
    """An app with compute and nothing deployed."""
    w.apps.create(App(name="demo"))
    sim.advance("4m")
    return w.apps.get("demo")


@pytest.fixture
def running(sim, w, active):
    """An app whose deployment has succeeded."""
    w.workspace.mkdirs(SOURCE)
    w.workspace.upload(f"{SOURCE}/app.py", b"print(1)", format=ImportFormat.RAW, overwrite=True)
    w.apps.deploy("demo", AppDeployment(source_code_path=SOURCE))
    sim.advance("2m")
    return w.apps.get("demo")

