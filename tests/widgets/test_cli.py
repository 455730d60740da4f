"""``recompviz lab``: the server listens on loopback and requires the token; the notebook is found or written."""

import importlib
import json
import subprocess
import sys

import nbformat
import pytest

from recompviz import cli
from recompviz.core.base.files import write_file


def test_the_server_listens_on_loopback_and_requires_its_token(tmp_path):
    arguments = cli.lab_arguments(tmp_path / "explore.ipynb", no_browser=False, port=None)
    assert "--ip=127.0.0.1" in arguments
    assert not any("token" in argument or "password" in argument for argument in arguments)
    assert "--no-browser" not in arguments


def test_port_and_other_options_are_passed_on(monkeypatch):
    seen = {}
    monkeypatch.setattr(cli, "open_lab", lambda *given: seen.update(given=given) or 0)
    cli.main(["lab", "--no-browser", "--port", "8901", "--ServerApp.quit_button=False"])
    assert seen["given"] == (None, True, 8901, ["--ServerApp.quit_button=False"])


def test_jupyterlab_saves_the_state_of_widgets_by_default(monkeypatch):
    settings = importlib.import_module("jupyterlab_server.settings_utils")  # a part of JupyterLab
    monkeypatch.setenv("JUPYTER_CONFIG_PATH", "/elsewhere")
    with cli.saved_widget_state() as file:
        overrides, error = settings._get_overrides("/nowhere")
        assert overrides["@jupyter-widgets/jupyterlab-manager:plugin"]["saveState"] is True
        assert not error
        assert cli.os.environ["JUPYTER_CONFIG_PATH"].endswith(":/elsewhere")
    assert not file.exists()
    assert cli.os.environ["JUPYTER_CONFIG_PATH"] == "/elsewhere"


def test_a_notebook_in_the_current_folder_is_opened(monkeypatch, tmp_path):
    monkeypatch.setattr(cli.recompviz, "__file__", str(tmp_path / "site" / "recompviz" / "__init__.py"))
    mine = tmp_path / "explore.ipynb"
    mine.write_text("{}")
    assert cli.find_notebook(tmp_path) == mine


def test_a_starter_that_cannot_be_written_is_told_in_one_line(monkeypatch, tmp_path, capsys):
    monkeypatch.setattr(cli, "find_notebook", lambda: write_file(tmp_path / "missing" / "explore.ipynb", "{}"))
    assert cli.main(["lab"]) == 1
    told = capsys.readouterr().err
    assert "missing" in told
    assert "Traceback" not in told


def test_without_notebooks_a_valid_starter_is_written(monkeypatch, tmp_path, capsys):
    monkeypatch.setattr(cli.recompviz, "__file__", str(tmp_path / "site" / "recompviz" / "__init__.py"))
    starter = cli.find_notebook(tmp_path)
    nbformat.validate(nbformat.read(starter, as_version=4))
    assert json.loads(starter.read_text())["cells"][1]["outputs"] == []
    assert "wrote a starter" in capsys.readouterr().out


def test_without_jupyterlab_the_extra_to_install_is_named(monkeypatch, capsys):
    monkeypatch.setattr(cli, "find_spec", lambda _name: None)
    assert cli.main(["lab"]) == 1
    assert 'pip install "recompviz[lab]"' in capsys.readouterr().err


def test_a_missing_notebook_is_named(capsys):
    pytest.importorskip("jupyterlab")
    assert cli.main(["lab", "no-such.ipynb"]) == 1
    assert "no-such.ipynb" in capsys.readouterr().err


def test_the_widgets_need_no_torch():
    code = (
        "import sys, recompviz.widgets.explorer.explorer, recompviz.cli; "
        "assert not any(m == 'torch' for m in sys.modules)"
    )
    subprocess.run([sys.executable, "-c", code], check=True, timeout=120)
