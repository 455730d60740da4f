"""Messages that a connection drops, in either direction, are found and sent again."""

import random
import threading

import comm
import pytest
import traitlets
from ipywidgets.widgets.widget import _put_buffers

from recompviz.widgets.base.page_widget import PageWidget, whole_number
from tests.widgets.test_javascript import node, run
from tests.widgets.test_page_messages import asked, custom, update


class Wire(comm.base_comm.BaseComm):
    """A connection whose messages go to a page."""

    def publish_msg(self, _kind, data=None, _metadata=None, buffers=None, **_keys):
        if (page := pages.get(self.comm_id)) is not None and (data or {}).get("method") == "update":
            _put_buffers(data["state"], data["buffer_paths"], buffers)
            page.receive(data["state"])


pages: dict[str, "Page"] = {}


class Page:
    """What a page knows of a widget; it misses the messages that come while ``connected`` is false."""

    def __init__(self, widget):
        self.widget, self.connected, self.questions = widget, True, 0
        self.state = widget.get_state()
        self.known = self.state["_revision"][1]
        self.missing = False
        pages[widget.model_id] = self

    def receive(self, state):
        if self.connected:
            self.state.update(state)
            since, number, *_ = state["_revision"]
            self.missing = since > self.known
            self.known = self.known if self.missing else max(self.known, number)

    def ask(self):
        self.questions += 1
        own = {name: self.state[name] for name in self.widget.page_traits}
        custom(self.widget, {"type": "since", "since": self.known, "question": self.questions, "state": own})
        assert self.state["_revision"][2] == self.questions
        return self.state["_revision"][3]

    def differences(self):
        theirs = {**self.widget.get_state(), "_revision": self.state["_revision"]}
        return {name: (self.state[name], value) for name, value in theirs.items() if self.state[name] != value}


class Small(PageWidget):
    """A widget with two traits of the kernel and two of the page."""

    page_traits = ("_choice", "_plain")
    _a = traitlets.List().tag(sync=True)
    _b = traitlets.Int().tag(sync=True)
    _choice = traitlets.Dict({"request": 0, "row": 0}).tag(sync=True)
    _plain = traitlets.Int().tag(sync=True)

    def from_page(self, name, value, _state):
        return {each: whole_number(value[each]) for each in ("request", "row")} if name == "_choice" else value


@pytest.fixture(autouse=True)
def wires(monkeypatch):
    monkeypatch.setattr(comm, "create_comm", Wire)
    yield
    pages.clear()


def test_a_gap_is_seen_at_the_next_message_and_closed_by_one_question():
    widget = Small()
    page = Page(widget)
    page.connected = False
    widget._a = [1]
    page.connected = True
    widget._b = 5
    assert page.missing
    assert page.differences()
    assert page.ask() == 0
    assert not page.missing
    assert not page.differences()


def test_the_last_message_can_be_lost_too():
    widget = Small()
    page = Page(widget)
    page.connected = False
    widget._a = [1]
    page.connected = True
    assert not page.missing
    page.ask()
    assert not page.differences()


def test_an_answer_has_only_what_is_missing():
    widget = Small()
    page = Page(widget)
    widget._b = 5
    page.connected = False
    widget._a = [1]
    page.connected = True
    received = []
    page.receive = lambda state: received.append(set(state))
    custom(widget, {"type": "since", "since": page.known, "question": 1, "state": {}})
    assert received == [{"_a", "_revision"}]


def test_a_change_whose_notification_never_came_is_sent():
    widget = Small()
    page = Page(widget)
    widget._trait_values["_a"] = [7]  # as after an interrupt between the change and its message
    page.ask()
    assert page.state["_a"] == [7]


def test_an_interrupt_while_a_message_is_sent_loses_nothing(monkeypatch):
    widget = Small()
    page = Page(widget)

    def interrupted(*_args, **_keys):
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(Wire, "publish_msg", interrupted)
        with pytest.raises(KeyboardInterrupt):
            widget._a = [3]
    widget._b = 1
    assert page.missing
    page.ask()
    assert not page.differences()


def test_a_choice_that_never_reached_the_kernel_is_taken_from_the_question():
    widget = Small()
    page = Page(widget)
    page.state["_choice"] = {"request": 3, "row": 2}
    page.state["_plain"] = 9
    assert page.ask() == 2
    assert (widget._choice["row"], widget._plain) == (2, 9)
    assert page.ask() == 0


def test_an_older_choice_and_one_that_is_not_valid_are_not_taken():
    widget = Small()
    page = Page(widget)
    widget._choice = {"request": 5, "row": 1}
    page.state["_choice"] = {"request": 4, "row": 2}
    assert page.ask() == 0
    page.state["_choice"] = {"request": "x", "row": 2}
    page.ask()
    assert widget._choice == {"request": 5, "row": 1}
    assert not page.differences()


def test_what_the_kernel_changed_since_is_not_overwritten_by_a_page_that_missed_it():
    widget = Small()
    page = Page(widget)
    page.connected = False
    widget._plain = 4
    page.connected = True
    page.ask()
    assert widget._plain == page.state["_plain"] == 4


@pytest.mark.parametrize("content", [{}, {"since": -1}, {"since": 10**9}, {"since": "1", "question": []}, {"state": 5}])
def test_a_damaged_question_is_answered(content):
    widget = Small()
    page = Page(widget)
    page.connected = False
    widget._a = [1]
    page.connected = True
    custom(widget, {"type": "since", **content})
    page.ask()
    assert not page.differences()


def test_a_page_that_is_loaded_while_threads_send_can_be_brought_up_to_date():
    widget = Small()
    stop = threading.Event()

    def change(name, value):
        count = 0
        while not stop.is_set():
            count += 1
            setattr(widget, name, value(count))

    threads = [
        threading.Thread(target=change, args=arguments)
        for arguments in (("_a", lambda n: [n]), ("_b", int), ("_a", lambda n: [-n]))
    ]
    for thread in threads:
        thread.start()
    loaded = [Page(widget) for _ in range(50)]
    stop.set()
    for thread in threads:
        thread.join()
    for page in loaded:
        pages[widget.model_id] = page
        page.ask()
        assert not page.differences()


@pytest.mark.parametrize("seed", range(20))
def test_an_explorer_and_its_page_agree_after_any_losses(lab, seed):
    generator, explorer = random.Random(seed), lab.explorer(runner=lab)
    page = Page(explorer)
    for _ in range(12):
        page.connected = generator.random() < 0.5
        row = generator.randrange(len(lab.time))
        match generator.randrange(5):
            case 0:
                choice = asked(explorer, row=row)
                page.state["_asked"] = choice
                if generator.random() < 0.5:  # otherwise the choice is lost
                    update(explorer, _asked=choice)
            case 1:
                explorer.budget = max(int(lab.time.total_peaks[row]), explorer._selection.current.least_total)
            case 2:
                explorer.pin(keep=[lab.graph.names[generator.randrange(len(lab.graph))]])
                explorer.wait()
            case 3:
                explorer.run()
                explorer.wait()
            case _:
                page.state["_theory"] = not explorer._theory
    page.connected = True
    page.ask()
    explorer.wait()
    page.ask()
    assert not page.differences()
    assert page.ask() == 0


@node
def test_the_page_counts_messages_in_the_same_way():
    rows = [[0, [0, 1, 0, 0]], [1, [2, 3, 0, 0]], [1, [0, 9, 0, 0]], [9, [4, 7, 1, 0]], [3, [3, 4, 2, 1]]]
    found = run("shared/in_step.js", "v.rows.map(([known, revision]) => m.received(known, revision))", rows=rows)
    assert [each["known"] for each in found] == [1, 1, 9, 9, 4]
    assert [each["missing"] for each in found] == [False, True, False, False, False]
