"""The written table of the wire and the code agree, field by field, and the buffers mean what it says."""

import re
from pathlib import Path

import numpy as np
import pytest

from recompviz.widgets import assets
from recompviz.widgets.explorer import Explorer

HERE = Path(assets.__file__).parent
# the lessons' own, which tests/teaching/test_pages.py looks at
LESSONS = {"playground.js", "playground_patch.js", "player.js", "scene_view.js", "stepper.js"}
JS = sorted(path for path in (HERE / "js").glob("*.js") if path.name not in LESSONS)


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
    explorer = lab.explorer(run=lab.run)
    explorer._asked = {"request": 2, "table": 0, "row": 1, "budget": 1e12}
    explorer.run()
    explorer.wait(20)
    return explorer


def test_every_synchronised_trait_is_written_down(explorer):
    ours = {name for name in explorer.trait_names(sync=True) if name in Explorer.class_own_traits()}
    assert ours == set(written())


def test_every_field_is_written_down_and_every_written_field_is_sent(explorer):
    for trait, fields in written().items():
        value = getattr(explorer, trait)
        if fields == {"(the value)"}:
            assert not isinstance(value, dict)
            continue
        for entry in value if isinstance(value, list) else [value]:
            assert set(entry) == fields, trait


def test_the_page_reads_only_fields_that_are_sent():
    fields = set().union(*written().values())
    read = set(re.findall(r"\bmessage\.(\w+)", (HERE / "js" / "wire.js").read_text()))
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
    assert len(reply["bands"]) == 4 * reply["steps"] * len(reply["categories"])
    assert len(reply["phases"]) * 4 == len(reply["step_nodes"]) == len(reply["step_labels"])


def test_keep_masks_unpack_to_the_plans(explorer, lab):
    table = explorer._tables[0]
    bits = np.frombuffer(table["kept"], np.uint8).reshape(table["rows"], -1)
    kept = np.unpackbits(bits, axis=1, bitorder="little")[:, : len(lab.graph)].astype(bool)
    assert (kept == np.stack([plan.kept for plan in lab.time.plans])).all()


def test_step_labels_point_into_the_label_list(explorer):
    numbers = np.frombuffer(explorer._reply["step_labels"], "<u4")
    assert [explorer._labels[i] for i in numbers] == list(explorer.timeline.step_labels)


def test_the_joined_module_has_no_import_left_and_one_default_export():
    text = assets.esm()
    assert not re.search(r"^import\s", text, re.MULTILINE)
    assert re.findall(r"^export .*", text, re.MULTILINE) == ["export default {"]


def test_top_level_names_are_unique_over_all_files():
    names = []
    for path in JS:
        names += re.findall(
            r"^(?:export )?(?:async )?(?:function|const|let|class) (\w+)", path.read_text(), re.MULTILINE
        )
    assert sorted(names) == sorted(set(names))


def test_every_file_is_joined_and_nothing_comes_from_elsewhere():
    text = assets.esm()
    assert all(f"// ---- {path.name}\n" in text for path in JS)
    assert not re.search(r"https?://(?!www\.w3\.org/2000/svg)", text + assets.css())
