"""Messages that a connection drops, in either direction, are found and sent again."""

import contextlib
import random
import threading
import uuid

import pytest
import traitlets
from ipywidgets.widgets.widget import _put_buffers, comm

from recompviz.widgets.base.page_widget import PageWidget, whole_number
from tests.widgets.test_javascript import node, run
from tests.widgets.test_page_messages import asked, custom, update


class Wire:
    """A connection whose messages go to pages."""

    def __init__(self, comm_id=None, **_opened):
        self.comm_id = comm_id or uuid.uuid4().hex

    def on_msg(self, callback):
        self.callback = callback

    def send(self, data, buffers=None):
        if data["method"] in ("update", "echo_update"):
            _put_buffers(data["state"], data["buffer_paths"], buffers)
            for page in [page for page in pages if page.widget.model_id == self.comm_id]:
                page.receive(data["state"])

    def close(self):
        pages[:] = [page for page in pages if page.widget.model_id != self.comm_id]


pages: list["Page"] = []


class Page:
    """What a page knows of a widget; it misses the messages that come while ``connected`` is false."""

    def __init__(self, widget):
        self.widget, self.connected = widget, True
        self.question = 1000 * len(pages)
        self.state = widget.get_state()
        self.known, self.own = self.state["_revision"][1], self.state["_revision"][4]
        self.missing = False
        pages.append(self)

    @contextlib.contextmanager
    def away(self):
        """In a ``with`` block, the page misses all messages."""
        self.connected = False
        yield
        self.connected = True

    def receive(self, state):
        if self.connected:
            self.state.update(state)
            if "_revision" in state:  # no echo of another page's choice
                since, number, question, _, own = state["_revision"]
                self.missing = since > self.known
                self.known = self.known if self.missing else max(self.known, number)
                self.own = own if question == self.question else self.own

    def choose(self, **state):
        """Set traits; the kernel hears of it if the page is connected."""
        self.state.update(state)
        if self.connected:
            update(self.widget, **state)

    def ask(self):
        self.question += 1
        state = {name: self.state[name] for name in self.widget.page_traits}
        message = {"since": self.known, "own": self.own, "question": self.question, "state": state}
        custom(self.widget, {"type": "since", **message})
        assert self.state["_revision"][2] == self.question
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
    with page.away():
        widget._a = [1]
    widget._b = 5
    assert page.missing
    assert page.differences()
    assert page.ask() == 0
    assert not page.missing
    assert not page.differences()


def test_the_last_message_can_be_lost_too():
    widget = Small()
    page = Page(widget)
    with page.away():
        widget._a = [1]
    assert not page.missing
    page.ask()
    assert not page.differences()


def test_an_answer_has_only_what_is_missing():
    widget = Small()
    page = Page(widget)
    widget._b = 5
    with page.away():
        widget._a = [1]
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
        patch.setattr(Wire, "send", interrupted)
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
    with page.away():
        widget._plain = 4
    page.ask()
    assert widget._plain == page.state["_plain"] == 4


@pytest.mark.parametrize("content", [{}, {"since": -1}, {"since": 10**9}, {"since": "1", "question": []}, {"state": 5}])
def test_a_damaged_question_is_answered(content):
    widget = Small()
    page = Page(widget)
    with page.away():
        widget._a = [1]
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


@pytest.mark.parametrize("echo", [True, False])
def test_a_page_that_missed_a_choice_of_another_page_takes_it_and_does_not_undo_it(echo, monkeypatch):
    monkeypatch.setattr("ipywidgets.widgets.widget.JUPYTER_WIDGETS_ECHO", echo)
    widget = Small()
    one, other = Page(widget), Page(widget)
    with one.away():
        other.choose(_plain=9, _choice={"request": 1, "row": 5})
    for page in (one, other, one, other):
        assert page.ask() == 0
        assert widget._plain == page.state["_plain"] == 9
        assert page.state["_choice"]["row"] == 5


def test_a_lost_choice_is_taken_even_if_everything_was_sent_since():
    widget = Small()
    page = Page(widget)
    page.connected = False
    widget.send_state()
    page.state["_choice"] = {"request": 7, "row": 3}
    page.connected = True
    assert page.ask() == 1
    assert widget._choice["row"] == 3


def test_an_answer_does_not_repeat_what_the_page_has_set():
    widget = Small()
    page = Page(widget)
    page.choose(_plain=3)
    page.state["_plain"] = 4  # the next choice is on its way
    received = []
    page.receive = lambda state: received.append(set(state))
    message = {"since": page.known, "own": page.own, "question": 5, "state": {"_plain": 3, "_choice": widget._choice}}
    custom(widget, {"type": "since", **message})
    assert received == [{"_revision"}]


def test_a_question_is_answered_although_an_observer_raises():
    widget = Small()
    page = Page(widget)
    with page.away():
        widget._a = [4]
    page.state["_plain"] = 5

    def broken(_change):
        raise RuntimeError("of the user")

    widget.observe(broken, "_plain")
    with contextlib.suppress(RuntimeError):  # ipywidgets prints it in a notebook
        page.ask()
    assert page.state["_revision"][2] == page.question
    assert page.state["_a"] == [4]


# Pages in virtual time. `say` is a message of the kernel; a message with number 0 is lost.
PAGES = """(() => {
  let [now, id, queue] = [0, 0, []];
  const later = (f, ms) => (queue.push({ at: now + ms, f, id: ++id }), id);
  const nothing = () => {};
  Object.assign(globalThis, {
    setTimeout: later,
    clearTimeout: (i) => { queue = queue.filter((each) => each.id !== i); },
    document: { hidden: false, addEventListener: nothing },
    window: { addEventListener: nothing },
  });
  Object.defineProperty(globalThis, "performance", { value: { now: () => now }, configurable: true });
  const [models, asked, missed] = [[], [], []];
  let [number, connected, busy] = [v.first[1], true, false];
  const say = (revision) => models.forEach((model) => {
    model.values._revision = revision;
    (model.handlers["change:_revision"] ?? []).forEach((f) => f());
  });
  const page = () => {
    const model = {
      values: { _revision: v.first, _theory: false },
      handlers: {},
      get: (name) => model.values[name],
      on: (name, f) => (model.handlers[name] ??= []).push(f),
      off: nothing,
      widget_manager: { kernel: { get status() { return busy ? "busy" : "idle"; } } },
      send: (content) => {
        asked.push([now, content.since]);
        if (connected) later(() => connected && say([content.since, ++number, content.question, 0, 0]), 5);
      },
    };
    models.push(model);
    m.inStep(["_theory"])({ model });
  };
  const send = () => { number += 1; if (connected) say([number - 1, number, 0, 0, 0]); };
  const connect = (on) => { connected = on; };
  const work = (on) => { busy = on; };
  v.events.forEach(([at, what, value]) => later(() => ({ page, send, connect, work })[what](value), at));
  while (queue.length) {
    queue.sort((a, b) => a.at - b.at || a.id - b.id);
    const next = queue.shift();
    if (next.at > v.end) break;
    now = next.at;
    next.f();
  }
  return asked;
})()"""


def asked_of(events, end=3_600_000, first=(0, 0, 0, 0, 0)):
    """When the pages ask, in ms, and from which message on."""
    return run("shared/in_step.js", PAGES, events=events, end=end, first=list(first))


def test_a_late_choice_of_tables_that_are_gone_counts_with_its_budget_only(lab):
    ready = threading.Event()

    def plans(objective="time", progress=None):
        while not ready.wait(0.01):
            progress(0, 1)
        return lab.planner.plans(objective, progress)

    explorer = lab.explorer(lab.planner_with(plans=plans), background=True)
    page, tables = Page(explorer), explorer._selection.tables
    given, budget = tables.given, float(tables.table(tables.given).total_peaks[1])
    page.connected = False
    page.state["_asked"] = {**asked(explorer, row=1, table=given, budget=budget), "edition": page.state["_edition"]}
    page.state["_asked"]["request"] += 9  # several choices were made
    pins = {"request": 3, "base": given, "edition": page.state["_edition"], "keep": [2], "recompute": []}
    ready.set()
    explorer.wait_for_plans()  # the number of the table means another table now
    page.connected = True
    page.ask()
    assert explorer._selection.table == 0
    assert explorer.plan == explorer.tables[0].plan(int(budget))
    assert explorer.budget == budget
    assert not page.differences()
    page.state["_pins"] = pins
    page.ask()
    explorer.wait()
    assert explorer._more[1]["base"] == 0


@node
@pytest.mark.parametrize("count", [1, 2, 3])
def test_pages_of_which_nothing_is_heard_ask_twice_each(count):
    assert len(asked_of([[100 * k, "page", 0] for k in range(count)])) == 2 * count


@node
def test_a_gap_is_asked_about_at_once():
    events = [[0, "page", 0], [40_000, "connect", False], [41_000, "send", 0], [42_000, "connect", True]]
    asked = asked_of([*events, [50_000, "send", 0]])
    assert [50_300, 2] in asked  # the two answers before have the numbers 1 and 2
    assert len([at for at, _ in asked if at > 45_000]) == 1


@node
def test_a_page_asks_again_as_soon_as_messages_come_again_after_a_long_time():
    outage = [[0, "page", 0], [1000, "connect", False], [130_000, "connect", True]]
    events = [*outage, *([1000 * k, "send", 0] for k in range(1, 400))]
    asked = asked_of(events, end=400_000)
    assert [at for at, _ in asked if at < 130_000] != []
    assert [at for at, _ in asked if 130_000 <= at <= 134_000] != []
    assert len(asked) < 12


@node
def test_what_came_before_a_message_that_came_before_the_script_is_asked_for():
    assert asked_of([[0, "page", 0]], first=(11, 12, 0, 0, 0))[0] == [3000, 0]
    assert asked_of([[0, "page", 0]], first=(0, 12, 0, 0, 0))[0] == [3000, 12]


@node
def test_a_busy_kernel_is_asked_once_a_minute_at_most():
    events = [[0, "page", 0], [1000, "work", True], *([5000 * k, "send", 0] for k in range(120))]
    assert len(asked_of(events, end=600_000)) <= 10


@node
def test_the_page_counts_messages_in_the_same_way():
    rows = [[0, [0, 1]], [1, [2, 3]], [1, [0, 9]], [9, [4, 7]], [3, [3, 4]]]
    found = run("shared/in_step.js", "v.rows.map(([known, revision]) => m.received(known, revision))", rows=rows)
    assert [each["known"] for each in found] == [1, 1, 9, 9, 4]
    assert [each["missing"] for each in found] == [False, True, False, False, False]
