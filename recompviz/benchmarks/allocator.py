"""Compare the model of the CUDA caching allocator with memory snapshots.

The model gets the segments and blocks that existed when the recording began. After that, it gets only the sizes and the
order of allocations and frees. The table has one row for each file, device and setting. Columns:

  requests             allocations in the recording
  recorded, predicted  largest number of bytes reserved from the device
  error                relative error of the predicted peak
  largest              largest relative error after any allocation or free
  from empty           error of the peak if the model starts empty and first allocates the blocks that existed
  address              share of the requests that the model serves at the recorded address. New segments get their
                       recorded addresses. "-" if the recording releases segments, and under other settings
  segments, free       four figures at the end, recorded / predicted: number of segments, free bytes in them, number
                       of free pieces, bytes of the largest free piece
  time                 processor time of the comparison, in which the model serves all requests three times

With ``--settings``, there is a further row for each given setting. It shows what the same requests would reserve under
this setting instead of the recorded one. Its columns of errors are the differences between the two settings.

    python -m recompviz.benchmarks.allocator snapshot.pickle …
    python -m recompviz.benchmarks.allocator snapshot.pickle --settings expandable_segments:True
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Iterator, Sequence
from pathlib import Path

from recompviz.core.allocator.settings import AllocatorSettings
from recompviz.core.base.units import format_bytes
from recompviz.core.snapshots.prediction import FreeMemory, PredictedRecording, predict_recording
from recompviz.core.snapshots.reader import read_snapshot

AS_RECORDED = "as recorded"
HEADER = (
    f"{'recording':<26} {'setting':<26} {'requests':>8} {'recorded':>10} {'predicted':>10} {'error':>7} {'largest':>7} "
    f"{'from empty':>10} {'address':>7} {'segments':>13} {'free':>21} {'pieces':>11} {'largest piece':>19} {'time':>8}"
)


def main(arguments: Sequence[str] | None = None) -> None:
    """Parse the command line and print the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("files", nargs="+", type=Path, help="files of torch.cuda.memory._dump_snapshot")
    parser.add_argument("--settings", action="append", default=[], help="another value of PYTORCH_ALLOC_CONF")
    options = parser.parse_args(arguments)
    print(HEADER)
    for path in options.files:
        for row in rows(path, options.settings):
            print(row, flush=True)


def rows(path: Path, others: Sequence[str] = ()) -> Iterator[str]:
    """Yield the rows of the table for a snapshot: for each device with events, one row for each setting.

    The settings are the recorded one and ``others``, for example ``"expandable_segments:True"``.
    """
    data = read_snapshot(path)
    recorded = AllocatorSettings.from_snapshot(data.get("allocator_settings"))
    for device, trace in enumerate(data["device_traces"]):
        if not trace:
            continue
        segments = [segment for segment in data["segments"] if (segment.get("device") or 0) == device]
        for text, settings in [(AS_RECORDED, recorded), *((text, AllocatorSettings.parse(text)) for text in others)]:
            began = time.process_time()
            predicted = predict_recording(segments, trace, settings)
            name = path.stem if device == 0 else f"{path.stem}, device {device}"
            yield row(name, text, predicted, time.process_time() - began)


def row(name: str, setting: str, predicted: PredictedRecording, seconds: float) -> str:
    """Return one row of the table. ``seconds`` is the processor time of the comparison."""
    recorded, model = predicted.recorded_free, predicted.predicted_free
    from_empty = predicted.peak_from_empty / max(predicted.recorded_peak, 1) - 1
    address = "-"
    if predicted.same_address is not None and setting == AS_RECORDED:
        address = f"{predicted.same_address / max(predicted.requests, 1):.0%}"
    segments = f"{recorded.segments:,} / {model.segments:,}"
    return (
        f"{name[:26]:<26} {setting[:26]:<26} {predicted.requests:>8,} {format_bytes(predicted.recorded_peak):>10} "
        f"{format_bytes(predicted.predicted_peak):>10} {predicted.error:>+7.2%} {predicted.largest_error:>7.2%} "
        f"{from_empty:>+10.2%} {address:>7} {segments:>13} {_free(recorded, model)} "
        f"{seconds * 1000:>5.0f} ms"
    )


def _free(recorded: FreeMemory, model: FreeMemory) -> str:
    size, piece = (
        f"{format_bytes(a)} / {format_bytes(b)}"
        for a, b in ((recorded.size, model.size), (recorded.largest, model.largest))
    )
    return f"{size:>21} {f'{recorded.pieces:,} / {model.pieces:,}':>11} {piece:>19}"


if __name__ == "__main__":
    main()
