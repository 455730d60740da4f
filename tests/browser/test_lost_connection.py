"""A connection that drops messages of widgets: the Explorer and the kernel agree again, without a reload."""

import threading

import pytest

from tests.browser.test_explorer import EXPLORE, RESIDUAL, settled, slider

pytestmark = pytest.mark.browser

# changes the Explorer in the kernel while the page hears nothing
LATER = """
import threading
def change():
    explorer.pin(keep=[planner.graph.names[20]])
    explorer.wait()
    explorer.budget = "100%"
threading.Timer(3, change).start()
"""
SHOWN = "document.querySelector('.rv-explorer').recompviz.state"


class Connection:
    """The connection of a page to a kernel. It can drop the messages of widgets in one direction."""

    def __init__(self):
        self.dropped = {"to the page": 0, "to the kernel": 0}
        self.questions = 0
        self.dropping = threading.Event(), threading.Event()

    def through(self, socket):
        server = socket.connect_to_server()
        socket.on_message(lambda message: self.pass_on("to the kernel", message, server.send))
        server.on_message(lambda message: self.pass_on("to the page", message, socket.send))

    def pass_on(self, direction, message, send):
        data = message.encode() if isinstance(message, str) else message
        self.questions += b'"since"' in data and direction == "to the kernel"
        if self.dropping[direction == "to the kernel"].is_set() and b'"comm_msg"' in data:
            self.dropped[direction] += 1
        else:
            send(message)


@pytest.fixture
def lossy(open_notebook, jupyter):
    (jupyter.folder / "residual.py").write_text(RESIDUAL)
    connection = Connection()

    def prepare(page):
        page.clock.install()
        page.route_web_socket(lambda address: "/channels" in address, connection.through)

    page = open_notebook("lost.ipynb", EXPLORE, "from residual import planner\n" + LATER, run=False, prepare=prepare)
    page.locator(".jp-Notebook-cell .cm-content").first.click()
    page.keyboard.press("Shift+Enter")
    page.get_by_role("group", name="Explorer of Residual net").wait_for()
    page.locator(".rv-nodes .rv-keep").first.wait_for()
    yield page, connection
    assert page.errors == []


def test_what_the_kernel_sends_into_a_broken_connection_arrives_later(lossy):
    page, connection = lossy
    page.locator(".jp-Notebook-cell .cm-content").last.click()
    page.keyboard.press("Control+Enter")
    page.wait_for_timeout(1000)
    connection.dropping[0].set()
    while connection.dropped["to the page"] < 5:
        page.wait_for_timeout(200)
    page.wait_for_timeout(1500)
    assert page.evaluate(f"{SHOWN}.pins.keep") == []
    connection.dropping[0].clear()
    page.wait_for_function(f"{SHOWN}.pins.keep.length === 1", timeout=30_000)
    page.wait_for_function("document.querySelectorAll('.rv-nodes .rv-recompute').length === 0", timeout=30_000)
    assert page.locator(".rv-chip").count() >= 1


def test_a_choice_that_never_arrived_is_taken_later_and_the_next_ones_too(lossy):
    page, connection = lossy
    connection.dropping[1].set()
    slider(page).focus()
    page.keyboard.press("Home")
    while not connection.dropped["to the kernel"]:
        page.wait_for_timeout(200)
    connection.dropping[1].clear()
    settled(page)
    # JupyterLab holds back further changes of a model after a lost one
    for key in ("End", "ArrowLeft", "Home"):
        page.keyboard.press(key)
        settled(page)


def test_a_busy_kernel_is_not_asked_and_an_idle_one_twice(lossy):
    page, connection = lossy
    quiet = 12_500  # ms; the page asks twice while nothing comes, the second time after 12 s
    for _ in range(2):
        page.clock.run_for(quiet)
        page.wait_for_timeout(500)
    questions = connection.questions
    page.clock.run_for(quiet)
    page.wait_for_timeout(500)
    assert connection.questions == questions  # nothing happens, so nothing is asked
    cell = page.locator(".jp-Notebook-cell .cm-content").last
    cell.click()
    page.keyboard.press("Control+A")
    page.keyboard.insert_text("import time; explorer.budget = '100%'; time.sleep(6)")
    page.wait_for_timeout(1000)
    questions = connection.questions
    page.keyboard.press("Control+Enter")
    page.get_by_text("| Busy").wait_for()
    page.clock.run_for(4500)
    page.wait_for_timeout(500)
    assert connection.questions == questions
    page.get_by_text("| Idle").wait_for()
    # the clock also runs by itself, so the first question may be asked before or after the status is read
    for _ in range(2):
        page.clock.run_for(quiet)
        page.wait_for_timeout(1000)
    for _ in range(2):
        assert connection.questions == questions + 2
        page.clock.run_for(quiet)
        page.wait_for_timeout(1000)
