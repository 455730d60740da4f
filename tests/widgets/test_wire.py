"""The written table of the wire and the code agree, field by field, and the buffers mean what it says."""

import re

import numpy as np
import pytest

from recompviz.core.steps.reserved_prediction import with_reserved
from recompviz.widgets.base import assets, interactive
from recompviz.widgets.explorer.wire import _source, timeline_message
from recompviz.widgets.layout.step_nodes import LabelNumbers

HERE = assets.HERE
JS = sorted(path.relative_to(HERE / "js").as_posix() for path in (HERE / "js").glob("*/*.js"))
# tests/teaching/test_pages.py checks these
LESSONS = {name for name in JS if name.startswith("lessons/")}


def written():
    """{trait: {field}} of wire.md."""
    table = {}
    for trait, fields in re.findall(
        r"^\| `(\w+)` \| (`\w+`|\(the value\)) \|", (HERE / "wire.md").read_text(), re.MULTILINE
    ):
        table.setdefault(trait, set()).add(fields.strip("`"))
    return table


@pytest.fixture
def explorer(lab):
    explorer = lab.explorer(runner=lab)
    explorer._asked = {"request": 2, "table": 0, "row": 1, "budget": 1e12, "edition": 0}
    explorer.run()
    explorer.wait(20)
    return explorer


def test_every_synchronised_trait_is_written_down(explorer):
    assert set(explorer.synchronised()) == set(written())


def test_every_field_is_written_down_and_every_written_field_is_sent(explorer):
    for trait, fields in written().items():
        value = getattr(explorer, trait)
        if fields == {"(the value)"}:
            assert not isinstance(value, dict)
            continue
        for entry in value if isinstance(value, list) else [value]:
            assert set(entry) == fields or (trait == "_more" and entry == {}), trait
    assert explorer._more[0]


def test_the_page_reads_only_fields_that_are_sent():
    fields = set().union(*written().values())
    read = set(re.findall(r"\bmessage\.(\w+)", (HERE / "js" / "data" / "wire.js").read_text()))
    assert read <= fields
    assert len(read) > 40


def test_buffers_have_the_written_length(explorer, lab):
    n, rows = len(lab.graph), len(lab.time)
    graph, table, reply = explorer._graph, explorer._tables[0], explorer._reply
    assert len(graph["edges"]) == 4 * 2 * len(lab.graph.edges)
    assert len(graph["memory"]) == len(graph["time"]) == 8 * n
    assert len(table["kept"]) == rows * -(-n // 8)
    assert len(table["segments"]) == 2 * rows * n
    assert len(table["outlines"]) == 4 * rows * table["outline_points"]
    blocks = len(reply["block_categories"])
    assert len(reply["block_labels"]) == len(reply["block_first"]) == len(reply["block_stop"]) == 4 * blocks
    assert len(reply["block_bytes"]) == 8 * blocks
    assert len(reply["phases"]) * 4 == len(reply["step_nodes"]) == len(reply["step_labels"])


def test_keep_masks_unpack_to_the_plans(explorer, lab):
    table = explorer._tables[0]
    bits = np.frombuffer(table["kept"], np.uint8).reshape(table["rows"], -1)
    kept = np.unpackbits(bits, axis=1, bitorder="little")[:, : len(lab.graph)].astype(bool)
    assert (kept == np.stack([plan.keep_mask for plan in lab.time.plans])).all()


def test_blocks_are_named_by_the_label_list_and_add_up_to_the_peak(explorer):
    reply = explorer._reply
    first, stop = (np.frombuffer(reply[name], "<u4") for name in ("block_first", "block_stop"))
    alive = (first <= reply["peak_step"]) & (reply["peak_step"] < stop)
    static = sum(category[3] for category in reply["categories"])
    assert np.frombuffer(reply["block_bytes"], "<f8")[alive].sum() + static == explorer.timeline.peak
    named = {explorer._labels[i] for i in np.frombuffer(reply["block_labels"], "<u4")[alive]}
    assert named == {block.label for block in explorer.timeline.at_peak()}


def test_reserved_memory_is_sent_where_it_is_predicted(explorer, lab):
    numbers = LabelNumbers(lab.graph)
    assert timeline_message(explorer.timeline, numbers)["reserved"] == explorer._reply["reserved"] == 0
    predicted = with_reserved(explorer.timeline, lab.joint)
    assert timeline_message(predicted, numbers)["reserved"] == predicted.reserved_peak >= predicted.peak


def test_step_labels_point_into_the_label_list(explorer):
    numbers = np.frombuffer(explorer._reply["step_labels"], "<u4")
    assert [explorer._labels[i] for i in numbers] == list(explorer.timeline.step_labels)


def test_the_joined_module_has_no_import_left_and_one_default_export():
    text = assets.esm()
    assert not re.search(r"^import\s", text, re.MULTILINE)
    assert re.findall(r"^export .*", text, re.MULTILINE) == ["export default {"]


# each widget's own, and the exported page's
ENTRIES = (
    "explorer/explorer.js",
    "explorer/standalone.js",
    "lessons/playground.js",
    "lessons/stepper.js",
    "lessons/lesson_page.js",
    "explorer/step_view.js",
    "recordings/standalone.js",
    "ranks/rank_view.js",
    "ranks/rank_page.js",
)


@pytest.mark.parametrize("entry", ENTRIES)
def test_top_level_names_are_unique_over_all_files_that_are_joined(entry):
    names = re.findall(r"^(?:async )?(?:function|const|let|class) (\w+)", assets.esm(entry), re.MULTILINE)
    assert names
    assert sorted(names) == sorted(set(names))


def test_every_file_is_joined_and_nothing_comes_from_elsewhere():
    text = "".join(map(assets.esm, ENTRIES))
    assert all(f"// ---- {name}\n" in text for name in JS)
    assert not re.search(r"https?://(?!www\.w3\.org/2000/svg)", text + assets.css())


@pytest.mark.parametrize(
    "line",
    [
        'import { a as b } from "./units.js";',
        'import * as units from "./units.js";',
        'import "./units.js";',
        'export { a } from "./units.js";',
        "export default function f() {}",
    ],
)
def test_an_import_or_export_that_cannot_be_joined_is_an_error(line, tmp_path, monkeypatch):
    (tmp_path / "js" / "shared").mkdir(parents=True)
    (tmp_path / "js" / "shared" / "units.js").write_text("export const a = 1;\n")
    (tmp_path / "js" / "shared" / "entry.js").write_text(f"{line}\n")
    monkeypatch.setattr(assets, "HERE", tmp_path)
    with pytest.raises(ValueError, match=r"shared/entry\.js"):
        assets.esm.__wrapped__("shared/entry.js")


def test_a_source_in_a_notebook_cell_is_named_by_its_cell(monkeypatch):
    class Compiler:
        """IPython's: it knows the names of the files of cells."""

        def format_code_name(self, name):
            return ("Cell", "In[3]") if name == "/tmp/ipykernel_7/12.py" else None

    monkeypatch.setattr(interactive, "running_shell", lambda: type("Shell", (), {"compile": Compiler()})())
    assert _source("/tmp/ipykernel_7/12.py:13\tx = f(x)") == "Cell In[3]:13\tx = f(x)"
    assert _source("/home/me/model.py:4\treturn x") == "/home/me/model.py:4\treturn x"
    assert _source("") == ""
