"""JavaScript that measures times in the page. Times are in ms since 1970, as in the kernel."""

# ``window.rvWire``: times of the last request to the kernel and of the last reply from it
WIRE = """(() => {
  const wire = (window.rvWire = { asked: 0, replied: 0 });
  const note = (data, trait, field) => {
    const bytes = typeof data === "string" ? null : new Uint8Array(data.buffer ?? data).subarray(0, 4096);
    const text = bytes ? new TextDecoder("latin1").decode(bytes) : data;
    if (text.includes(trait)) wire[field] = performance.timeOrigin + performance.now();
  };
  window.WebSocket = class extends WebSocket {
    constructor(...options) {
      super(...options);
      this.addEventListener("message", ({ data }) => note(data, '"_reply"', "replied"));
    }
    send(data) {
      note(data, '"_asked"', "asked");
      super.send(data);
    }
  };
})()"""

# ``window.rvSeen``: what one drag of the slider takes, from the first event after this call
WATCH = """() => {
  const root = document.querySelector(".rv-explorer");
  const slider = root.querySelector(".rv-slider:not(.rv-scrubber)");
  const { state, repaints } = root.recompviz;
  const now = () => performance.timeOrigin + performance.now();
  window.rvSeen = { latencies: [], last: 0, confirmed: 0, shown: 0 };
  repaints.length = 0;
  if (window.rvWatched) return;
  window.rvWatched = true;
  const afterFrame = (then) =>
    requestAnimationFrame(() => {
      const done = new MessageChannel(); // a task after the frame was drawn
      done.port1.onmessage = then;
      done.port2.postMessage(0);
    });
  slider.addEventListener("input", () => {
    const begun = now();
    Object.assign(window.rvSeen, { last: begun, shown: 0 });
    afterFrame(() => window.rvSeen.latencies.push(now() - begun));
  }, { capture: true });
  let confirmed = state.confirmed;
  Object.defineProperty(state, "confirmed", {
    get: () => confirmed,
    set: (value) => {
      confirmed = value;
      if (!value) return;
      window.rvSeen.confirmed = now();
      const { last } = window.rvSeen;
      afterFrame(() => last === window.rvSeen.last && confirmed && (window.rvSeen.shown = now()));
    },
  });
}"""

# the result of a drag
RESULT = """() => {
  const { repaints, state } = document.querySelector(".rv-explorer").recompviz;
  return { repaints, row: state.row, request: state.request, ...window.rvSeen, ...window.rvWire };
}"""
