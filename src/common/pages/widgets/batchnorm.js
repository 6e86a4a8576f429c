// BatchNorm's statistics from real activations: which numbers enter a mean, and how noisy it is.

const BATCHES = 200; // how many past batches the noise is read from

function render({ model, el }) {
  const [stage] = readStages(model.get("stages"), model.get("weights"));
  const bytes = model.get("contexts");
  const contexts = new Uint8Array(bytes.buffer, bytes.byteOffset, bytes.byteLength);
  const T = stage.blockSize;
  const examples = contexts.length / T;
  const draw = random(model.get("seed"));
  const { root: heard, say } = voice();
  const keep = keeper(model);

  // The activations of `size` random examples: { data, shape: (B, P, C) }.
  function batch(size) {
    const chosen = new Int32Array(size * T);
    for (let b = 0; b < size; b++) {
      const from = Math.floor(draw() * examples) * T;
      chosen.set(contexts.subarray(from, from + T), b * T);
    }
    return forward(stage, chosen).at(-1);
  }

  const mean = (numbers) => numbers.reduce((a, b) => a + b, 0) / numbers.length;
  const deviation = (numbers) => {
    const m = mean(numbers);
    return Math.sqrt(mean(numbers.map((x) => (x - m) ** 2)));
  };
  const [, P, C] = batch(1).shape;
  const column = ({ data, shape: [B] }, p, c) => Array.from({ length: B }, (_, b) => data[(b * P + p) * C + c]);
  const pooled = () => model.get("axes") === "B, T";
  // The groups of numbers that share a mean: one a place, or all of them together.
  const groupsOf = (x, c) => {
    const places = Array.from({ length: P }, (_, p) => column(x, p, c));
    return pooled() ? [places.flat()] : places;
  };

  let current, past, width = 0;
  const axes = radios("Average over", [["B", "dimension 0 alone: B (the bug)"], ["B, T", "dimensions 0 and 1: B and T (the repair)"]],
    model.get("axes"), (value) => keep("axes", value));
  const size = slider("Batch", { min: 2, max: 7, value: Math.log2(model.get("batch_size")), show: (e) => `${2 ** e} examples` },
    (e) => keep("batch_size", 2 ** e));
  const channel = slider("Channel", { min: 0, max: C - 1, value: model.get("channel") }, (c) => keep("channel", c));
  const again = node("button", { type: "button", onclick: () => (redraw(), update()) }, "Draw another batch");
  const grid = node("div", { class: "wn-drawing" });
  const strip = node("div", { class: "wn-drawing" });
  const note = node("p", { class: "wn-note" });

  function redraw() {
    current = batch(model.get("batch_size"));
  }
  function restart() {
    past = Array.from({ length: BATCHES }, () => batch(model.get("batch_size")));
    redraw();
  }

  function update() {
    const c = model.get("channel");
    const now = groupsOf(current, c);
    const before = past.map((x) => groupsOf(x, c).map(mean)); // (BATCHES, groups)
    const noise = now.map((_, g) => deviation(before.map((means) => means[g])));
    // one ruler for both choices of axes: all numbers of the channel, whatever their place
    const ruler = deviation(past.flatMap((x) => groupsOf(x, c).flat())) || 1;
    const relative = noise.map((sd) => sd / ruler);
    const numbers = now[0].length;
    const B = model.get("batch_size");
    const groups = pooled() ? `one mean a channel, each of ${B} × ${P} = ${numbers} numbers; state (${C},)`
      : `${P} means a channel, each of ${numbers} numbers; state (1, ${P}, ${C})`;
    note.textContent = `${groups}. From batch to batch the mean of channel ${c} scatters by ${relative.map((r) => r.toFixed(3)).join(", ")} standard deviations of the channel (1/√${numbers} = ${(numbers ** -0.5).toFixed(3)}).`;
    say(note.textContent);
    if (width) {
      drawGrid(c, now);
      drawStrip(before, now, noise);
    }
  }

  function drawGrid(c, now) {
    const B = model.get("batch_size");
    const left = 44;
    const scale = 2.5 * deviation(groupsOf(current, c).flat()) || 1;
    const wide = (width - left) / B;
    const tall = 22;
    const parts = [];
    for (let p = 0; p < P; p++) {
      const y = p * (tall + 6) + 2;
      parts.push(svg("text", { x: 0, y: y + 15, class: "wn-small" }, `pair ${p + 1}`));
      column(current, p, c).forEach((value, b) => parts.push(svg("rect", {
        x: left + b * wide, y, width: Math.max(wide - 0.5, 0.5), height: tall,
        class: value > 0 ? "wn-above" : "wn-below", "fill-opacity": Math.min(1, Math.abs(value) / scale).toFixed(2),
      })));
      if (!pooled()) parts.push(svg("rect", { x: left - 2, y: y - 1, width: width - left + 2, height: tall + 2, class: `wn-group wn-colour-${p}` }));
    }
    const height = P * (tall + 6) + 2;
    if (pooled()) parts.push(svg("rect", { x: left - 2, y: 1, width: width - left + 2, height: height - 5, class: "wn-group wn-colour-4" }));
    grid.replaceChildren(svg("svg", {
      viewBox: `0 0 ${width} ${height}`, width, height, role: "img",
      "aria-label": `channel ${c} of one batch: ${P} pairs by ${B} examples; ${pooled() ? "all share one mean" : "each pair has a mean of its own"}: ${now.map((g) => mean(g).toFixed(2)).join(", ")}`,
    }, ...parts));
  }

  function drawStrip(before, now, noise) {
    const left = 60;
    const tall = 24;
    const all = before.flat();
    const low = Math.min(...all), high = Math.max(...all);
    const x = (value) => left + 6 + ((value - low) / (high - low || 1)) * (width - left - 70);
    const parts = now.flatMap((numbers, g) => {
      const y = g * tall + tall / 2;
      const colour = pooled() ? 4 : g;
      return [
        svg("text", { x: 0, y: y + 4, class: "wn-small" }, pooled() ? "all pairs" : `pair ${g + 1}`),
        ...before.map((means) => svg("line", { x1: x(means[g]), x2: x(means[g]), y1: y - 7, y2: y + 7, class: `wn-tick wn-colour-${colour}` })),
        svg("circle", { cx: x(Math.min(Math.max(mean(numbers), low), high)), cy: y, r: 5, class: "wn-now" }),
        svg("text", { x: width, y: y + 4, class: "wn-small wn-end" }, `± ${noise[g].toFixed(3)}`),
      ];
    });
    const height = now.length * tall + 18;
    parts.push(svg("text", { x: left, y: height - 4, class: "wn-small" }, low.toFixed(2)),
      svg("text", { x: width - 64, y: height - 4, class: "wn-small wn-end" }, high.toFixed(2)));
    strip.replaceChildren(svg("svg", {
      viewBox: `0 0 ${width} ${height}`, width, height, role: "img",
      "aria-label": `means of ${BATCHES} batches from ${low.toFixed(2)} to ${high.toFixed(2)}; standard deviations ${noise.map((sd) => sd.toFixed(3)).join(", ")}`,
    }, ...parts));
  }

  const unfollow = follow(model, {
    axes: () => {
      for (const input of axes.querySelectorAll("input")) input.checked = input.value === model.get("axes");
      update();
    },
    batch_size: () => (size.place(Math.log2(model.get("batch_size"))), restart(), update()),
    channel: () => (channel.place(model.get("channel")), update()),
  });

  el.append(node("div", { class: "wn wn-batchnorm" },
    axes,
    node("div", { class: "wn-controls" }, size.root, channel.root, node("div", { class: "wn-buttons" }, again)),
    node("p", { class: "wn-caption" }, "one batch, one channel: a column an example, a row a pair; orange above zero, blue below; frames hold what is averaged together"),
    grid,
    node("p", { class: "wn-caption" }, `the means of ${BATCHES} batches, from the lowest to the highest, and (circle) of the batch above; at the right their standard deviation`),
    strip, note, heard));
  restart();
  update();
  const stopWatching = onWidth(grid, (now) => ((width = now), update()));
  return () => {
    stopWatching();
    unfollow();
  };
}

export default { render };
