"""The lifetime simulation, compiled by numba and imported only when it is used. Without numba, it runs, but is slow.

The results equal those of :mod:`recompviz.core.steps.schedule` and :mod:`recompviz.core.steps.simulation`. One
simulation takes about twenty microseconds instead of a few milliseconds, so a search can simulate thousands of plans.

The arguments ``step`` and ``scratch`` are :class:`StepArrays` and :class:`Scratch`. Budgets and peaks are in transient
bytes: parameters and other memory allocated before the training step are not counted.
"""

from __future__ import annotations

from recompviz.core.base.cached_kernels import kernel
from recompviz.core.live.step_arrays import Scratch, StepArrays, Totals

# At most this many numbers are sorted by insertion: ``sort`` of a compiled array allocates memory at each call.
FEW = 32


@kernel(inline="always")
def find_kept_calls(keep_mask, step, scratch):
    """Fill ``scratch.kept``: for each forward call, whether its outputs are kept (:meth:`JointGraph.kept_calls`)."""
    node, pinned, kept = step.node, step.pinned, scratch.kept
    view_start, views, follow_start, follows = step.view_start, step.views, step.follow_start, step.follows
    for c in range(step.forward_count):
        kept[c] = pinned[c] or (node[c] >= 0 and keep_mask[node[c]])
    for i in range(len(step.dependent)):
        c = step.dependent[i]
        stays = kept[c]
        for k in range(view_start[c], view_start[c + 1]):
            stays |= keep_mask[views[k]]
        if not stays and node[c] < 0:
            stays = True
            for k in range(follow_start[c], follow_start[c + 1]):
                stays &= keep_mask[follows[k]]
        kept[c] = stays


@kernel
def sort_first(numbers, count):
    """Sort the first ``count`` numbers, in place."""
    if count > FEW:
        numbers[:count].sort()
        return
    for i in range(1, count):
        number, k = numbers[i], i
        while k > 0 and numbers[k - 1] > number:
            numbers[k] = numbers[k - 1]
            k -= 1
        numbers[k] = number


@kernel
def order_calls(keep_mask, step, scratch):
    """Write the operator calls to ``scratch.order``, in the order in which they run, and return their number.

    A recomputed call is written twice. Also fill ``scratch.kept``, ``scratch.saved`` and ``scratch.recomputed``.
    """
    find_kept_calls(keep_mask, step, scratch)
    read_start, reads, maker, kept = step.read_start, step.reads, step.maker, scratch.kept
    stack, pulled, order = scratch.stack, scratch.pulled, scratch.order
    saved, recomputed = scratch.saved, scratch.recomputed
    forward = step.forward_count
    saved[:] = False
    recomputed[:] = False
    steps = forward  # the forward pass is in ``order`` from the start
    for b in range(forward, len(step.node)):
        top, count = 1, 0
        stack[0] = b
        while top > 0:
            top -= 1
            reader = stack[top]
            for k in range(read_start[reader], read_start[reader + 1]):
                s = reads[k]
                c = maker[s]
                if recomputed[c] or saved[s]:
                    continue
                if kept[c]:
                    saved[s] = True
                else:
                    recomputed[c] = True
                    pulled[count] = c
                    count += 1
                    stack[top] = c
                    top += 1
        sort_first(pulled, count)
        for k in range(count):
            order[steps] = pulled[k]
            steps += 1
        order[steps] = b
        steps += 1
    return steps


@kernel(inline="always")
def find_last_uses(steps, step, scratch):
    """Fill ``scratch.last_use``: for each storage that a forward call makes, the step after which it is freed.

    The steps are those of the backward pass, which includes the recomputation. −1 means that the backward pass does not
    free the storage. For storages that a backward call makes, nothing is filled in: see ``StepArrays.freed_bytes``.
    """
    read_start, reads, make_start, makes = step.read_start, step.reads, step.make_start, step.makes
    maker, order, last, forward = step.maker, scratch.order, scratch.last_use, step.forward_count
    last[:] = -1
    for i in range(forward, steps):
        c = order[i]
        if c < forward:
            for k in range(make_start[c], make_start[c + 1]):
                last[makes[k]] = i
        for k in range(read_start[c], read_start[c + 1]):
            last[reads[k]] = i
    for k in range(len(step.results)):
        s = step.results[k]
        made_again = maker[s] < forward and scratch.recomputed[maker[s]]
        if not made_again:
            last[s] = -1


@kernel
def simulate(keep_mask, step, scratch, budget):
    """Simulate the schedule of a keep mask, and return peak, number of steps and excess as :class:`Totals`.

    ``budget`` is in transient bytes (allocated during the training step). Fill ``scratch``, except for
    ``recomputed_nodes``, ``alive_at_peak`` and ``absent``. Where only the peak is needed, use :func:`peak_within`.
    """
    steps = order_calls(keep_mask, step, scratch)
    read_start, reads, make_start, makes = step.read_start, step.reads, step.make_start, step.makes
    size, random, workspace, forward = step.size, step.random, step.workspace, step.forward_count
    saved, recomputed = scratch.saved, scratch.recomputed
    order, last, allocated, step_peaks = scratch.order, scratch.last_use, scratch.allocated, scratch.step_peaks
    live, peak, peak_step, excess = 0, 0, -1, 0
    for c in range(forward):
        live += step.made_bytes[c]
        most = live
        if random[c] and recomputed[c]:
            live += step.rng_bytes
        most = max(most, live + workspace[c])
        for k in range(step.free_start[c], step.free_start[c + 1]):
            if not saved[step.frees[k]]:
                live -= size[step.frees[k]]
        if c == forward - 1:
            live += step.loss_gradient_bytes
            most = max(most, live)
        step_peaks[c] = most
        if most > peak:
            peak, peak_step = most, c
        if most > budget:
            excess += most - budget
    find_last_uses(steps, step, scratch)
    allocated[:] = saved
    allocated[step.results] = True
    for i in range(forward, steps):
        c = order[i]
        live += step.made_bytes[c]
        state = step.rng_bytes if random[c] and c < forward else 0
        most = max(live, live + state + workspace[c])
        live -= state + step.freed_bytes[c]
        if c < forward:
            for k in range(make_start[c], make_start[c + 1]):
                s = makes[k]
                allocated[s] = last[s] != i
                if last[s] == i:
                    live -= size[s]
        for k in range(read_start[c], read_start[c + 1]):
            s = reads[k]
            if last[s] == i and allocated[s]:
                allocated[s] = False
                live -= size[s]
        step_peaks[i] = most
        if most > peak:
            peak, peak_step = most, i
        if most > budget:
            excess += most - budget
    most = live
    for k in range(len(step.clone_of)):
        s = step.clone_of[k]
        most = max(most, live + step.clone_size[k])
        live += step.clone_size[k] - (size[s] if allocated[s] else 0)
        allocated[s] = False
    step_peaks[steps] = most
    if most > peak:
        peak, peak_step = most, steps
    if most > budget:
        excess += most - budget
    return Totals(peak, peak_step, steps + 1, excess)


@kernel
def peak_within(steps, step, scratch, limit):
    """Return the peak of the schedule that :func:`order_calls` wrote, in transient bytes, faster than :func:`simulate`.

    ``steps`` is the number of calls in the schedule. If the peak exceeds ``limit``, the result is some number above
    ``limit``. The forward pass is read off its points (:class:`StepArrays`). The backward pass is followed from its
    end, so that the last use of a storage is the first one that is seen.
    """
    read_start, reads, make_start, makes = step.read_start, step.reads, step.make_start, step.makes
    size, random, workspace, forward = step.size, step.random, step.workspace, step.forward_count
    saved, recomputed, order, seen = scratch.saved, scratch.recomputed, scratch.order, scratch.allocated
    added, peak = 0, step.last_peak
    for k in range(len(step.points)):
        peak = max(peak, added + step.point_peaks[k])
        point = step.points[k]
        if point >= 0:
            if saved[point]:
                added += size[point]
        elif recomputed[-1 - point]:
            added += step.rng_bytes
    peak = max(peak, added + step.forward_end_peak)
    if peak > limit:
        return peak
    seen[:] = False
    live = step.backward_end
    for i in range(steps - 1, forward - 1, -1):
        c = order[i]
        state = 0
        live += step.freed_bytes[c]
        if c < forward:
            state = step.rng_bytes if random[c] else 0
            live += state
            for k in range(make_start[c], make_start[c + 1]):
                if not seen[makes[k]]:  # no call reads it again
                    live += size[makes[k]]
        for k in range(read_start[c], read_start[c + 1]):
            s = reads[k]
            if not seen[s]:
                seen[s] = True
                if not step.is_result[s] or recomputed[step.maker[s]]:
                    live += size[s]
        most = live + state + workspace[c]
        if most > peak:
            peak = most
            if peak > limit:
                return peak
        live -= step.made_bytes[c]
    return peak


@kernel
def overhead_of(step, scratch):
    """Return the sum of the costs T_v over the nodes that the last simulated schedule recomputes.

    Also fill ``scratch.recomputed_nodes``.
    """
    node, view_start, views, time = step.node, step.view_start, step.views, step.time
    recomputed, seen = scratch.recomputed, scratch.recomputed_nodes
    seen[:] = False
    total = 0.0
    for c in range(step.forward_count):
        if recomputed[c] and node[c] >= 0:
            if not seen[node[c]]:
                seen[node[c]] = True
                total += time[node[c]]
            for k in range(view_start[c], view_start[c + 1]):
                if not seen[views[k]]:
                    seen[views[k]] = True
                    total += time[views[k]]
    return total


@kernel
def find_alive_at_peak(keep_mask, peak_step, step, scratch):
    """Fill ``scratch.alive_at_peak``: for each node, whether it is kept and has a saved storage alive at the peak.

    If the peak is in the forward pass, every saved storage counts as alive, also one that is allocated after the peak.
    If the peak is in the backward pass, outputs of the training step do not count.
    """
    alive = scratch.alive_at_peak
    alive[:] = False
    for s in range(len(step.maker)):
        if not scratch.saved[s] or (peak_step >= step.forward_count and scratch.last_use[s] < peak_step):
            continue
        v = step.node[step.maker[s]] if step.maker[s] >= 0 else -1
        if v >= 0 and keep_mask[v]:
            alive[v] = True


@kernel
def simulate_fully(keep_mask, step_fields, scratch_fields, budget):
    """Simulate the schedule of a keep mask and return (peak, steps, excess, overhead).

    :class:`Totals` explains peak, steps and excess, and :func:`overhead_of` the overhead. All arrays of ``Scratch`` are
    filled, except ``absent``. ``step_fields`` and ``scratch_fields`` are the fields of a ``StepArrays`` and a
    ``Scratch`` as plain tuples, because numba reads a plain tuple from Python in half the time.
    """
    step, scratch = StepArrays(*step_fields), Scratch(*scratch_fields)
    totals = simulate(keep_mask, step, scratch, budget)
    overhead = overhead_of(step, scratch)
    find_alive_at_peak(keep_mask, totals.peak_step, step, scratch)
    return totals.peak, totals.steps, totals.excess, overhead
