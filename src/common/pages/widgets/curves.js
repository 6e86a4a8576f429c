// Loss curves with a slider for the length of the average.

const LENGTHS = [1, 2, 5, 10, 20, 50, 100, 200, 500, 1000, 2000, 5000, 10000, 20000];

function render({ model, el }) {
  const bytes = model.get("losses");
  // losses in 16 bits: 0 to 65535 for the lowest to the highest
  const [lowest, highest] = model.get("range");
  const numbers = Float64Array.from(new Uint16Array(bytes.buffer.slice(bytes.byteOffset, bytes.byteOffset + bytes.byteLength)),
    (level) => lowest + (level / 65535) * (highest - lowest));
  const labels = model.get("labels");
  const hueOf = (run) => model.get("hue") || `colour-${run}`; // of its model, or one a run
  const steps = numbers.length / labels.length;
  const lengths = LENGTHS.filter((length) => length <= steps / 5);
  // Sums up to every step make the mean of any stretch a difference of two of them.
  const sums = labels.map((_, run) => {
    const sum = new Float64Array(steps + 1);
    for (let i = 0; i < steps; i++) sum[i + 1] = sum[i] + numbers[run * steps + i];
    return sum;
  });
  const averaged = (run, from, length) => (sums[run][from + length] - sums[run][from]) / length;
  const { root: heard, say } = voice();
  const keep = keeper(model);
  let width = 0;

  const nearest = (length) => lengths.reduce((best, each, i) => (Math.abs(each - length) < Math.abs(lengths[best] - length) ? i : best), 0);
  const smoothing = slider("Average over",
    { min: 0, max: lengths.length - 1, value: nearest(model.get("window")), show: (i) => (lengths[i] === 1 ? "1 batch" : `${count(lengths[i])} batches`) },
    (i) => keep("window", lengths[i]));
  const drawing = node("div", { class: "wn-drawing" });
  const note = node("p", { class: "wn-note" });

  // For every column of pixels the lowest and the highest of the averages that fall into it, and one of
  // them for the line. Not their mean, which would average over the column as well.
  function columns(run, length, many) {
    const last = steps - length + 1;
    return Array.from({ length: many }, (_, column) => {
      const from = Math.floor((column * last) / many);
      const to = Math.max(from + 1, Math.floor(((column + 1) * last) / many));
      let low = Infinity, high = -Infinity;
      for (let i = from; i < to; i++) {
        const value = averaged(run, i, length);
        low = Math.min(low, value);
        high = Math.max(high, value);
      }
      const middle = (from + to - 1) >> 1;
      return { at: middle + length / 2, low, high, line: averaged(run, middle, length) };
    });
  }

  // How far two runs are apart on average, at 400 places less the first few.
  function distance(length) {
    let sum = 0;
    for (let place = 8; place < 400; place++) {
      const from = Math.floor((place / 400) * (steps - length + 1));
      sum += Math.abs(averaged(0, from, length) - averaged(1, from, length));
    }
    return sum / 392;
  }

  // Scatter of averages that share no batch, over the last fifth before the learning rate drops (or the end).
  function scatter(run, length) {
    const end = model.get("drop") || steps;
    const means = [];
    for (let from = end - Math.floor(steps / 5); from + length <= end; from += length) means.push(averaged(run, from, length));
    if (means.length < 2) return;
    const m = means.reduce((a, b) => a + b) / means.length;
    return Math.sqrt(means.reduce((sum, x) => sum + (x - m) ** 2, 0) / (means.length - 1));
  }

  // The ends of an axis: what averages of this length reach once the first steps are over.
  function endsOf(length) {
    const settled = labels.flatMap((_, run) => columns(run, length, 400).slice(8));
    const low = Math.min(...settled.map((c) => c.low)), high = Math.max(...settled.map((c) => c.high));
    const pad = 0.05 * (high - low);
    return [low - pad, high + pad];
  }
  // Two pictures, whose axes stay while the length changes: single losses fit the one, averages of a
  // thousand the other, which is a close-up of the first.
  const whole = endsOf(1);
  const near = endsOf(lengths[nearest(1_000)]);

  function draw() {
    if (!width) return;
    const length = lengths[nearest(model.get("window"))];
    const curves = labels.map((_, run) => columns(run, length, Math.max(10, Math.floor((width - 40) / 1.5))));
    const when = `in the last ${count(Math.floor(steps / 5))} steps${model.get("drop") ? " before the drop" : ""}`;
    const told = labels.map((label, run) => {
      const sd = scatter(run, length);
      const spread = sd === undefined ? "too few averages to tell their scatter" : `scatter ${when} ± ${sd.toFixed(3)}`;
      return `${label}: ${spread}, last average ${averaged(run, steps - length, length).toFixed(3)} nats`;
    });
    const apart = labels.length === 2 ? ` The two are ${distance(length).toFixed(3)} nats apart on average.` : "";
    note.textContent = `Means of ${count(length)} ${length === 1 ? "batch" : "batches"}. ${told.join("; ")}.${apart}`;
    say(note.textContent);
    const height = Math.min(170, 110 + width / 10);
    drawing.replaceChildren(
      picture(curves, whole, height, `training loss against steps, averaged over ${length} batches. ${told.join("; ")}`, near),
      picture(curves, near, height, `the same, closer: from ${near[0].toFixed(2)} to ${near[1].toFixed(2)} nats`));
  }

  // `marked`: the part of this axis that another picture shows.
  function picture(curves, [low, high], height, label, marked) {
    const left = 40, bottom = marked ? 12 : 36;
    const x = (step) => left + (step / steps) * (width - left - 6);
    const y = (loss) => 18 + ((high - loss) / (high - low)) * (height - bottom - 18);
    const parts = marked ? [svg("rect", { x: left, width: width - left - 6, y: y(marked[1]), height: y(marked[0]) - y(marked[1]), class: "wn-marked" })] : [];
    const unit = [0.001, 0.002, 0.005, 0.01, 0.02, 0.05, 0.1, 0.2, 0.5, 1].find((each) => (high - low) / each <= 5) || 1;
    for (let tick = Math.ceil(low / unit) * unit; tick <= high; tick += unit)
      parts.push(svg("line", { x1: left, x2: width - 6, y1: y(tick), y2: y(tick), class: "wn-gridline" }),
        svg("text", { x: left - 5, y: y(tick) + 4, class: "wn-small wn-end" }, tick.toFixed(unit < 0.01 ? 3 : unit < 0.1 ? 2 : 1)));
    for (let tick = 0; tick <= steps && !marked; tick += steps / 4)
      parts.push(svg("text", { x: x(tick), y: height - bottom + 16, class: `wn-small ${tick === steps ? "wn-end" : "wn-middle"}` }, `${tick / 1000}`));
    if (!marked) parts.push(svg("text", { x: (left + width) / 2, y: height - 3, class: "wn-small wn-middle" }, "step (thousands)"));
    parts.push(svg("text", { x: 0, y: 12, class: "wn-small" }, marked ? "nats; the shaded part is the picture below" : "nats, closer"));
    if (model.get("drop")) parts.push(svg("line", { x1: x(model.get("drop")), x2: x(model.get("drop")), y1: 18, y2: height - bottom, class: "wn-mark" }));
    const drawn = [];
    curves.forEach((curve, run) => {
      const up = curve.map((c) => `${x(c.at).toFixed(1)},${y(c.high).toFixed(1)}`);
      const down = curve.map((c) => `${x(c.at).toFixed(1)},${y(c.low).toFixed(1)}`).reverse();
      drawn.push(svg("polygon", { points: [...up, ...down].join(" "), class: `wn-band wn-${hueOf(run)}` }),
        svg("polyline", { points: curve.map((c) => `${x(c.at).toFixed(1)},${y(c.line).toFixed(1)}`).join(" "), class: `wn-curve wn-${hueOf(run)}${run ? " wn-broken" : ""}` }));
    });
    // what lies outside the picture is cut off there
    const inside = { x: left, y: 18, width: width - left - 6, height: height - bottom - 18 };
    parts.push(svg("svg", { ...inside, viewBox: Object.values(inside).join(" ") }, ...drawn));
    return svg("svg", { viewBox: `0 0 ${width} ${height}`, width, height, role: "img", "aria-label": label }, ...parts);
  }

  const unfollow = follow(model, { window: () => (smoothing.place(nearest(model.get("window"))), draw()) });
  const drop = model.get("drop");
  const { root } = frame("losses", {
    title: "A training loss, averaged over few batches and over many",
    attempt: drop
      ? `average over 1 batch: a mess. Over about 1,000: the step at ${count(drop)} stands out. Over ${count(lengths.at(-1))}: it blurs into a ramp.`
      : "move the slider to the left, to 1 batch: the band fills the upper picture. Then to the right: it shrinks to a line.",
    legend: [...labels.map((label, run) => [run ? "broken" : "stroke", hueOf(run), label]),
      ["square", model.get("hue") ? `${hueOf(0)} wn-pale` : "faint", "band: from the lowest to the highest average in a column of pixels; line: one of them"],
      drop && ["dashed", "soft", "the learning rate drops"]].filter(Boolean),
    answer: [drawing],
    controls: [smoothing.root],
    more: [note, heard],
  });
  el.append(root);
  const stopWatching = onWidth(drawing, (now) => ((width = now), draw()));
  return () => {
    stopWatching();
    unfollow();
  };
}

export default { render };
