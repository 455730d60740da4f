// Reading the layout of the page between two changes makes the browser lay it out twice in one frame. After the frame is
// drawn, reading it costs nothing.

/** Run `measure` once after the frame that is being drawn: { ask(), cancel() }. */
export function afterFrame(measure) {
  let timer = 0;
  return {
    ask() {
      timer ||= setTimeout(() => {
        timer = 0;
        measure();
      });
    },
    cancel: () => clearTimeout(timer),
  };
}
