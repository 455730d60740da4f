"""A real JupyterLab on loopback with a token, and a headless Chromium that reaches nothing else."""

import json
import os
import secrets
import shutil
import socket
import subprocess
import sys
import time
import urllib.request

import pytest

REQUIRED = os.environ.get("RECOMPVIZ_REQUIRE_BROWSER") == "1"


def missing(reason):
    """Skip with the reason, or fail where a browser was promised."""
    (pytest.fail if REQUIRED else pytest.skip)(reason)


class Lab:
    """A running JupyterLab; notebooks are written into its folder."""

    def __init__(self, folder):
        self.folder = folder
        self.token = secrets.token_hex(16)
        with socket.socket() as probe:
            probe.bind(("127.0.0.1", 0))
            self.port = probe.getsockname()[1]
        self.log = (folder / "server.log").open("w")
        environment = os.environ | {
            "JUPYTER_CONFIG_DIR": str(folder / "config"),
            "JUPYTER_DATA_DIR": str(folder / "data"),
            "JUPYTER_RUNTIME_DIR": str(folder / "runtime"),
            "IPYTHONDIR": str(folder / "ipython"),
        }
        options = [
            "--no-browser",
            "--ip=127.0.0.1",
            f"--port={self.port}",
            "--ServerApp.port_retries=0",
            f"--IdentityProvider.token={self.token}",
            f"--ServerApp.root_dir={folder}",
            "--ServerApp.allow_root=True",
            "--LabApp.news_url=None",
            f"--LabApp.user_settings_dir={folder / 'settings'}",
            f"--LabApp.workspaces_dir={folder / 'workspaces'}",
        ]
        self.process = subprocess.Popen(
            [sys.executable, "-m", "jupyterlab", *options], env=environment, stdout=self.log, stderr=self.log
        )
        self.ended = 0  # how often all kernels were ended
        self.wait()
        self.settings("notification", {"fetchNews": "false", "checkForUpdates": False})

    def address(self, path, **query):
        """A page of the server, with the token."""
        more = "".join(f"&{name}={value}" for name, value in query.items())
        return f"http://127.0.0.1:{self.port}/{path}?token={self.token}{more}"

    def wait(self):
        """Until it answers."""
        end = time.monotonic() + 90
        while time.monotonic() < end:
            if self.process.poll() is not None:
                break
            try:
                urllib.request.urlopen(self.address("api/status"), timeout=2).close()
                return
            except OSError:
                time.sleep(0.3)
        self.stop()
        raise RuntimeError((self.folder / "server.log").read_text()[-3000:])

    def settings(self, plugin, values):
        """Set a JupyterLab setting of the apputils extension."""
        address = self.address(f"lab/api/settings/@jupyterlab/apputils-extension:{plugin}")
        body = json.dumps({"raw": json.dumps(values)}).encode()
        request = urllib.request.Request(
            address, body, {"Content-Type": "application/json", "Authorization": f"token {self.token}"}, method="PUT"
        )
        urllib.request.urlopen(request, timeout=10).close()

    def end_kernels(self):
        """So that no test meets the objects of another."""
        self.ended += 1
        head = {"Authorization": f"token {self.token}"}
        with urllib.request.urlopen(self.address("api/kernels"), timeout=10) as answer:
            kernels = json.load(answer)
        for kernel in kernels:
            address = self.address(f"api/kernels/{kernel['id']}")
            urllib.request.urlopen(urllib.request.Request(address, headers=head, method="DELETE"), timeout=30).close()

    def notebook(self, name, *cells):
        """Write a notebook of code cells."""
        content = {
            "cells": [
                {
                    "id": f"c{i}",
                    "cell_type": "code",
                    "metadata": {},
                    "source": source,
                    "execution_count": None,
                    "outputs": [],
                }
                for i, source in enumerate(cells)
            ],
            "metadata": {"kernelspec": {"display_name": "Python 3", "language": "python", "name": "python3"}},
            "nbformat": 4,
            "nbformat_minor": 5,
        }
        (self.folder / name).write_text(json.dumps(content))
        return name

    def stop(self):
        """End the server and its kernels."""
        if self.process.poll() is None:
            self.process.terminate()
            try:
                self.process.wait(15)
            except subprocess.TimeoutExpired:
                self.process.kill()
                self.process.wait()
        self.log.close()


# of a page, until a test chooses another one
VIEWPORT = {"width": 1440, "height": 1000}


@pytest.fixture(scope="session")
def chromium():
    """A headless Chromium: on PATH, or in Playwright's own folder."""
    try:
        from playwright.sync_api import Error, sync_playwright
    except ImportError:
        missing("playwright is not installed")
    path = next(
        (found for name in ("chromium", "chromium-browser", "google-chrome") if (found := shutil.which(name))), None
    )
    with sync_playwright() as playwright:
        try:
            browser = playwright.chromium.launch(executable_path=path, args=["--no-sandbox"])
        except Error as error:
            missing(f"no Chromium on PATH or in Playwright's folder: {str(error).splitlines()[0]}")
        yield browser
        browser.close()


@pytest.fixture(scope="session")
def jupyter(tmp_path_factory, chromium):  # noqa: ARG001 (no server without a browser)
    """A JupyterLab for the whole session; started only where there is a browser."""
    try:
        import jupyterlab  # noqa: F401
    except ImportError:
        missing("jupyterlab is not installed")
    lab = Lab(tmp_path_factory.mktemp("lab"))
    yield lab
    lab.stop()


@pytest.fixture
def open_notebook(jupyter, chromium):
    """Open a notebook, run all of it, and give the page; whatever is not on loopback is refused."""
    yield from opener(jupyter, chromium)


@pytest.fixture(scope="module")
def open_notebooks(jupyter, chromium):
    """The same, for pages that several tests share."""
    yield from opener(jupyter, chromium)


def opener(jupyter, chromium):
    """A function that opens notebooks; ends what it opened."""
    pages = []

    def open_(name, *cells, theme="JupyterLab Light", run=True, prepare=None):
        jupyter.end_kernels()
        jupyter.settings("themes", {"theme": theme})
        jupyter.notebook(name, *cells)
        context = chromium.new_context(viewport=VIEWPORT)
        context.route(
            "**/*",
            lambda route: route.continue_() if f"//127.0.0.1:{jupyter.port}/" in route.request.url else route.abort(),
        )
        context.set_default_timeout(120_000)  # a loaded machine is slow, and no reason to fail
        page = context.new_page()
        page.errors = []
        page.on("pageerror", lambda error: page.errors.append(str(error)))
        if prepare is not None:  # before the page is loaded
            prepare(page)
        page.goto(jupyter.address(f"doc/tree/{name}", reset=""))
        page.wait_for_selector(".jp-Notebook", timeout=90_000)
        page.get_by_text("| Idle").wait_for(timeout=90_000)
        if run:
            run_all(page)
        pages.append(page)
        return page

    yield open_
    for page in pages:
        page.context.close()


def run_all(page):
    """Run all cells of the notebook in a page."""
    page.get_by_role("menuitem", name="Run", exact=True).click()
    page.get_by_role("menuitem", name="Run All Cells", exact=True).click()


class SharedNotebook:
    """One page with one notebook for several tests; its cells run again for each of them.

    To open JupyterLab and to start a kernel takes longer than most tests do.
    """

    def __init__(self, jupyter, open_):
        self.jupyter, self.open = jupyter, open_
        self.page, self.ended = None, 0

    def shown(self, name, *cells):
        """The page after its cells ran. The widgets of the test before are gone, but its objects may be in the kernel.

        A new page is opened for the first test, after another test has ended the kernels, and after :meth:`drop`.
        """
        if self.page is not None and self.jupyter.ended == self.ended:
            self.run_again(len(cells))
        else:
            self.drop()
            self.page = self.open(name, *cells)
            self.ended = self.jupyter.ended
        return self.page

    def run_again(self, first):
        """Remove the cells that the test before has added, and run the first ones."""
        page, cells = self.page, self.page.locator(".jp-Notebook-cell")
        page.errors.clear()
        page.set_viewport_size(VIEWPORT)
        page.mouse.up()
        page.mouse.move(5, 5)
        while (count := cells.count()) > first:
            cells.last.locator(".jp-InputPrompt").click()
            page.keyboard.press("d")
            page.keyboard.press("d")
            page.wait_for_function("n => document.querySelectorAll('.jp-Notebook-cell').length < n", arg=count)
        page.evaluate(
            "document.querySelectorAll('.jp-OutputArea-output').forEach((output) => output.classList.add('old-output'))"
        )
        run_all(page)
        page.wait_for_function("!document.querySelector('.old-output')")

    def drop(self):
        """Close the page, so that the next test gets a new one."""
        if self.page is not None:
            self.page.context.close()
            self.page = None


@pytest.fixture(scope="module")
def shared_notebook(jupyter, open_notebooks):
    """A notebook that the tests of a module share; see :class:`SharedNotebook`."""
    return SharedNotebook(jupyter, open_notebooks)


@pytest.fixture
def show_notebook(shared_notebook, request):
    """A function that shows the shared notebook of a module; after a test that fails, the next one gets a new page."""
    failed = request.session.testsfailed
    yield shared_notebook.shown
    errors = shared_notebook.page.errors if shared_notebook.page is not None else []
    if errors or request.session.testsfailed > failed:
        shared_notebook.drop()
    assert errors == []
