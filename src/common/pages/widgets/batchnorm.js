// BatchNorm's statistics from real activations: which numbers enter a mean, and how noisy it is.

const BATCHES = 200; // how many past batches the noise is read from
const SIZES = [4, 8, 16, 32, 48, 64, 96, 128]; // examples in a batch; the axis of the means is made for the noise of the first

function render({ model, el }) {
  const [stage] = readStages(model.get("stages"), model.get("weights"));
  const bytes = model.get("contexts");
  const contexts = new Uint8Array(bytes.buffer, bytes.byteOffset, bytes.byteLength);
  const T = stage.blockSize;
  const examples = contexts.length / T;
  // Every example goes through the layers once. After that a batch is a list of examples.
  const { data, shape: [, P, C] } = forward(stage, Int32Array.from(contexts)).at(-1);
  const draw = random(model.get("seed"));
  const { root: heard, say } = voice();
  const keep = keeper(model);

  const batch = (size) => Array.from({ length: size }, () => Math.floor(draw() * examples));
  const mean = (numbers) => {
    let sum = 0;
    for (const x of numbers) sum += x;
    return sum / numbers.length;
  };
  const deviation = (numbers) => {
    const m = mean(numbers);
    return Math.sqrt(mean(numbers.map((x) => (x - m) ** 2)));
  };
  const column = (chosen, p, c) => Float64Array.from(chosen, (example) => data[(example * P + p) * C + c]);
  const joined = (columns) => {
    const all = new Float64Array(columns.length * columns[0].length);
    columns.forEach((one, i) => all.set(one, i * one.length));
    return all;
  };
  const pooled = () => model.get("axes") === "B, T";
  // The groups of numbers that share a mean: one a place, or all of them together.
  const groupsOf = (chosen, c) => {
    const places = Array.from({ length: P }, (_, p) => column(chosen, p, c));
    return pooled() ? [joined(places)] : places;
  };

  // A channel's unit, the standard deviation of all its numbers, whatever their place, and the ends of the
  // axis for its means, in that unit: the same for bug and repair, and for every size of batch.
  function axisOf(c) {
    const everyone = Array.from({ length: examples }, (_, i) => i);
    const places = Array.from({ length: P }, (_, p) => column(everyone, p, c));
    const unit = deviation(joined(places)) || 1;
    const room = places.map((numbers) => (3 * deviation(numbers)) / Math.sqrt(SIZES[0]));
    return { unit, least: Math.min(...places.map((numbers, p) => mean(numbers) - room[p])) / unit,
      most: Math.max(...places.map((numbers, p) => mean(numbers) + room[p])) / unit };
  }

  let current, past, ruler, width = 0;
  const axes = radios("Average over", [["B", "dimension 0 alone: B (the bug)"], ["B, T", "dimensions 0 and 1: B and T (the repair)"]],
    model.get("axes"), (value) => keep("axes", value));
  const nearest = (B) => SIZES.reduce((best, each, i) => (Math.abs(each - B) < Math.abs(SIZES[best] - B) ? i : best), 0);
  const size = slider("Batch", { min: 0, max: SIZES.length - 1, value: nearest(model.get("batch_size")), show: (i) => `${SIZES[i]} examples` },
    (i) => keep("batch_size", SIZES[i]));
  const channel = slider("Channel", { min: 0, max: C - 1, value: model.get("channel") }, (c) => keep("channel", c));
  const again = node("button", { type: "button", onclick: () => (redraw(), update()) }, "Draw another batch");
  const drawing = node("div", { class: "wn-drawing" });
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
    const { unit } = (ruler ??= axisOf(c));
    const now = groupsOf(current, c);
    const before = past.map((chosen) => groupsOf(chosen, c).map((group) => mean(group) / unit)); // (BATCHES, groups)
    const noise = now.map((_, g) => deviation(before.map((means) => means[g])));
    const numbers = now[0].length;
    const B = model.get("batch_size");
    const what = pooled() ? `one mean a channel, each of ${B} × ${P} = ${numbers} numbers; state (${C},)`
      : `${P} means a channel, each of ${numbers} numbers; state (1, ${P}, ${C})`;
    note.textContent = `${what}. From batch to batch the mean of channel ${c} scatters by ${noise.map((sd) => sd.toFixed(3)).join(", ")} standard deviations of the channel (1/√${numbers} = ${(numbers ** -0.5).toFixed(3)}).`;
    say(note.textContent);
    if (width) paint(c, now, before, noise);
  }

  // Above, the batch: a row an example, a column a pair, as in the chapter's figures. Below each frame
  // the means of what is in it.
  function paint(c, now, before, noise) {
    const B = model.get("batch_size");
    const left = 46, gap = 8, head = 20, tall = 128, top = head + tall + 16, low = top + 140, height = low + 38;
    const wide = (width - left) / P - gap, x = (p) => left + p * (wide + gap) + gap / 2;
    const scale = 2.5 * deviation(joined(groupsOf(current, c))) || 1;
    const parts = [svg("text", { x: 14, y: head + tall / 2, transform: `rotate(-90 14 ${head + tall / 2})`, class: "wn-small wn-middle" }, `${B} examples`)];
    for (let p = 0; p < P; p++) {
      parts.push(svg("text", { x: x(p) + wide / 2, y: 13, class: "wn-small wn-middle" }, `pair ${p + 1}`));
      column(current, p, c).forEach((value, b) => parts.push(svg("rect", {
        x: x(p), y: head + (b * tall) / B, width: wide, height: Math.max(tall / B - 0.5, 0.5),
        class: value > 0 ? "wn-above" : "wn-below", "fill-opacity": Math.min(1, Math.abs(value) / scale).toFixed(2),
      })));
    }
    const { unit, least, most } = ruler;
    const y = (value) => low - ((Math.min(Math.max(value, least), most) - least) / (most - least || 1)) * (low - top);
    const step = [0.1, 0.2, 0.5, 1, 2, 5].find((each) => (most - least) / each <= 6) || 10;
    for (let tick = Math.ceil(least / step); tick * step <= most; tick++)
      parts.push(svg("line", { x1: left, x2: width, y1: y(tick * step), y2: y(tick * step), class: "wn-gridline" }),
        svg("text", { x: left - 5, y: y(tick * step) + 4, class: "wn-small wn-end" }, (tick * step).toFixed(1)));
    now.forEach((numbers, g) => {
      const from = x(g), to = pooled() ? x(P - 1) + wide : from + wide;
      parts.push(svg("rect", { x: from - 2, y: head - 2, width: to - from + 4, height: tall + 4, class: "wn-group wn-ink" }),
        ...before.map((means) => svg("line", { x1: from, x2: to, y1: y(means[g]), y2: y(means[g]), class: "wn-tick wn-soft" })),
        svg("circle", { cx: (from + to) / 2, cy: y(mean(numbers) / unit), r: 5, class: "wn-now" }),
        svg("text", { x: (from + to) / 2, y: low + 16, class: "wn-small wn-middle" }, `± ${noise[g].toFixed(3)}`));
    });
    const together = Math.sqrt(mean(noise.map((sd) => sd ** 2)));
    if (!pooled()) parts.push(svg("text", { x: (left + width) / 2, y: low + 33, class: "wn-small wn-middle" }, `together (root mean square) ± ${together.toFixed(3)}`));
    drawing.replaceChildren(svg("svg", {
      viewBox: `0 0 ${width} ${height}`, width, height, role: "img",
      "aria-label": `channel ${c} of one batch: ${B} examples by ${P} pairs; ${pooled() ? "all share one mean" : "each pair has a mean of its own"}: ${now.map((g) => (mean(g) / unit).toFixed(2)).join(", ")}. Means of ${BATCHES} batches on an axis from ${least.toFixed(1)} to ${most.toFixed(1)} standard deviations of the channel: they scatter by ${noise.map((sd) => sd.toFixed(3)).join(", ")}${pooled() ? "" : `, together ${together.toFixed(3)}`}`,
    }, ...parts));
  }

  const unfollow = follow(model, {
    axes: () => {
      for (const input of axes.querySelectorAll("input")) input.checked = input.value === model.get("axes");
      update();
    },
    batch_size: () => (size.place(nearest(model.get("batch_size"))), restart(), update()),
    channel: () => (channel.place(model.get("channel")), (ruler = undefined), update()),
  });

  const { root } = frame("batchnorm", {
    title: "Which numbers does BatchNorm average?",
    attempt: "switch to the repair. Four frames become one, and its means lie closer together than those of pairs 2, 3 and 4. Pair 1, nearly all dots, was quieter still.",
    legend: [["square", "red", "a number above zero"], ["square", "blue", "below zero"], ["box", "ink", "averaged together"],
      ["stroke", "soft", `the means of ${BATCHES} batches, ± their scatter, in standard deviations of the channel`], ["ring", "ink", "the mean of the batch above"]],
    answer: [drawing],
    controls: [axes, size.root, channel.root, node("div", { class: "wn-buttons" }, again)],
    more: [note, heard],
  });
  el.append(root);
  batch(1); // a number that was drawn here before: the batches are those of earlier editions
  restart();
  update();
  const stopWatching = onWidth(drawing, (now) => ((width = now), update()));
  return () => {
    stopWatching();
    unfollow();
  };
}

export default { render };
