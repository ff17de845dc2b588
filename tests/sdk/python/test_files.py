import base64

import pytest
from databricks.sdk.errors import NotFound, ResourceAlreadyExists
from databricks.sdk.service.workspace import ExportFormat, ImportFormat, Language, ObjectType

FOLDER = "/Workspace/Users/ann@example.com/tool"


def test_files_are_uploaded_listed_described_read_and_deleted(w):
    w.workspace.mkdirs(f"{FOLDER}/lib")
    w.workspace.mkdirs(f"{FOLDER}/lib")
    w.workspace.upload(f"{FOLDER}/app.py", b"print(1)\n", format=ImportFormat.RAW)
    w.workspace.import_(
        f"{FOLDER}/lib/x.txt", format=ImportFormat.RAW, content=base64.b64encode(b"x").decode(), overwrite=True
    )
    listed = {item.path: item.object_type for item in w.workspace.list(FOLDER)}
    assert listed == {f"{FOLDER}/app.py": ObjectType.FILE, f"{FOLDER}/lib": ObjectType.DIRECTORY}
    deep = {item.path for item in w.workspace.list(FOLDER, recursive=True)}
    assert deep == {f"{FOLDER}/app.py", f"{FOLDER}/lib/x.txt"}
    status = w.workspace.get_status(f"{FOLDER}/app.py")
    assert (status.object_type, status.size) == (ObjectType.FILE, 9)
    assert status.object_id and status.modified_at
    assert w.workspace.download(f"{FOLDER}/app.py", format=ExportFormat.AUTO).read() == b"print(1)\n"
    exported = w.workspace.export(f"{FOLDER}/lib/x.txt", format=ExportFormat.AUTO)
    assert base64.b64decode(exported.content) == b"x"
    w.workspace.delete(FOLDER, recursive=True)
    with pytest.raises(NotFound, match=r"doesn't exist"):
        w.workspace.get_status(f"{FOLDER}/app.py")


def test_what_is_there_is_overwritten_only_when_told(w):
    w.workspace.mkdirs(FOLDER)
    w.workspace.upload(f"{FOLDER}/a", b"1", format=ImportFormat.RAW)
    with pytest.raises(ResourceAlreadyExists):
        w.workspace.upload(f"{FOLDER}/a", b"2", format=ImportFormat.RAW)
    w.workspace.upload(f"{FOLDER}/a", b"2", format=ImportFormat.RAW, overwrite=True)
    assert w.workspace.download(f"{FOLDER}/a", format=ExportFormat.AUTO).read() == b"2"


def test_a_file_needs_its_folder(w):
    with pytest.raises(NotFound):
        w.workspace.upload("/Workspace/nowhere/a", b"1", format=ImportFormat.RAW)
    with pytest.raises(NotFound):
        list(w.workspace.list("/Workspace/nowhere"))


def test_a_full_folder_is_deleted_only_with_what_is_in_it(w):
    w.workspace.mkdirs(FOLDER)
    w.workspace.upload(f"{FOLDER}/a", b"1", format=ImportFormat.RAW)
    with pytest.raises(Exception, match="not empty"):
        w.workspace.delete(FOLDER)
    assert w.workspace.get_status(f"{FOLDER}/a").path == f"{FOLDER}/a"


def test_auto_makes_a_notebook_of_a_source_that_says_so(w):
    w.workspace.mkdirs(FOLDER)
    w.workspace.upload(f"{FOLDER}/n.py", b"# Databricks notebook source\n1", format=ImportFormat.AUTO)
    (found,) = w.workspace.list(FOLDER)
    assert (found.path, found.object_type, found.language) == (f"{FOLDER}/n", ObjectType.NOTEBOOK, Language.PYTHON)
