"""The exported page: it carries everything, asks for nothing, and simulates as Python does."""

import json
import re
from dataclasses import replace

import numpy as np

from recompviz.core.steps.schedule import make_schedule
from recompviz.core.steps.simulation import simulate_schedule
from recompviz.core.steps.transient_blocks import blocks_of
from recompviz.core.steps.value_states import value_states
from recompviz.widgets.explorer.joint_wire import joint_message
from tests.core.random_joints import random_joint, random_mask
from tests.widgets.test_javascript import node, run


def test_the_page_is_one_file_that_refers_to_nothing_else(lab, tmp_path):
    path = tmp_path / "page.html"
    text = lab.explorer(title="a <b> & c").to_html(path)
    assert path.read_text(encoding="utf-8") == text
    assert "<title>a &lt;b&gt; &amp; c: recompviz</title>" in text
    assert not re.search(
        r"(src|href)\s*=|@import|url\(", re.sub(r"url\(#|`url\(#|link\.href = |image\.src = ", "", text)
    )


@node
def test_the_page_simulates_any_plan_as_python_does():
    for seed in range(0, 60, 3):
        graph, joint = random_joint(seed)
        joint = replace(joint, optimizer_scratch=seed % 2 * 40)
        kept = random_mask(seed, len(graph))
        timeline = simulate_schedule(make_schedule(joint, kept.tolist()))
        message = json.loads(json.dumps(joint_message(graph, joint)))
        found = run(
            "data/simulated_reply.js",
            "(() => { const r = m.simulateReply(m.readJoint(v.joint), v.kept);"
            " const list = (T, name) => Array.from(new T(r[name].buffer));"
            " return { ...r, labels: list(Uint32Array, 'block_labels'),"
            " categories: list(Uint8Array, 'block_categories'),"
            " bytes: list(Float64Array, 'block_bytes'), first: list(Uint32Array, 'block_first'),"
            " stop: list(Uint32Array, 'block_stop'), steps_: list(Uint32Array, 'step_labels') }; })()",
            joint=message,
            kept=kept.astype(int).tolist(),
        )
        blocks = blocks_of(timeline)
        assert found["bytes"] == blocks.size.tolist(), seed
        assert found["first"] == blocks.first.tolist(), seed
        assert found["stop"] == blocks.stop.tolist(), seed
        assert found["categories"] == blocks.category.tolist(), seed
        assert [message["labels"][i] for i in found["labels"]] == [timeline.storage_labels[s] for s in blocks.storage]
        assert [message["labels"][i] for i in found["steps_"]] == list(timeline.step_labels), seed
        assert (found["peak"], found["peak_step"]) == (timeline.peak, timeline.peak_step), seed


@node
def test_the_page_finds_the_states_of_values_as_python_does():
    seen = set()
    for seed in range(0, 60, 2):
        graph, joint = random_joint(seed)
        kept = random_mask(seed, len(graph))
        states = value_states(make_schedule(joint, kept.tolist()), kept.tolist())
        found = run(
            "data/value_states.js",
            "((joint) => Array.from(m.valueStates(joint, v.kept, p.makeSchedule(joint, v.kept))))"
            "(s.readJoint(v.joint))",
            modules={"s": "data/simulated_reply.js", "p": "data/schedule.js"},
            joint=json.loads(json.dumps(joint_message(graph, joint))),
            kept=kept.astype(int).tolist(),
        )
        assert found == states.tolist(), seed
        seen |= set(found)
    assert seen == {0, 1, 2}


@node
def test_the_blocks_of_a_reply_stack_up_to_the_timeline_in_the_page(lab):
    explorer = lab.explorer()
    reply = explorer._reply
    arrays = {
        "labels": np.frombuffer(reply["block_labels"], "<u4"),
        "categories": np.frombuffer(reply["block_categories"], "<u1"),
        "bytes": np.frombuffer(reply["block_bytes"], "<f8"),
        "first": np.frombuffer(reply["block_first"], "<u4"),
        "stop": np.frombuffer(reply["block_stop"], "<u4"),
    }
    fields = ("number", "label", "fixed", "bytes")
    plain = {
        "steps": reply["steps"],
        "categories": [dict(zip(fields, row, strict=True)) for row in reply["categories"]],
        "blocks": {name: values.tolist() for name, values in arrays.items()},
        "stepNodes": np.frombuffer(reply["step_nodes"], "<i4").tolist(),
    }
    bands = np.array(run("data/blocks.js", "Array.from(m.bandsOf(v.r))", r=plain)).reshape(len(plain["categories"]), -1)
    assert (bands.sum(0) == explorer.timeline.profile).all()
    at = int(reply["peak_step"])
    alive = run("data/blocks.js", "m.aliveAt(v.r, v.at).map((i) => v.r.blocks.bytes[i])", r=plain, at=at)
    assert alive == [block.size for block in explorer.timeline.at_peak()]
