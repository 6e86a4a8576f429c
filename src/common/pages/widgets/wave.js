// A wave that the reader draws, continued by a network that runs free and by a weighted sum.

const GIVEN = 150, AHEAD = 100, LIMIT = 1.5;
const TAU = 2 * Math.PI;
const clamp = (value, low, high) => Math.min(Math.max(value, low), high);
const PRESETS = {
  sum: ["sines of 20 and 33", (t) => 0.5 * Math.sin((TAU * t) / 20) + 0.5 * Math.sin((TAU * t) / 33 + 1)],
  sine: ["one sine of 20", (t) => 0.8 * Math.sin((TAU * t) / 20)],
  others: ["sines of 25 and 28", (t) => 0.5 * Math.sin((TAU * t) / 25) + 0.5 * Math.sin((TAU * t) / 28 + 1)],
  square: ["a square wave", (t) => (t % 24 < 12 ? 0.7 : -0.7)],
  flat: ["a flat line", () => 0.5],
  chaos: ["chaos", (t, series) => series[t]],
};

// The network reads the values one by one, then each of its forecasts is its next input.
function freeRun(stage, values, steps) {
  const memory = new Map();
  const read = (piece) => through(stage.layers, { data: Float32Array.from(piece), shape: [1, piece.length, 1] }, memory).at(-1).data.at(-1);
  const wave = [read(values)];
  while (wave.length < steps) wave.push(read(wave.slice(-1)));
  return wave;
}

// Each value is a weighted sum of the last few; `weights` begin with the oldest.
function weighedRun(weights, values, steps) {
  const wave = values.slice(-weights.length);
  for (let step = 0; step < steps; step++)
    wave.push(weights.reduce((sum, weight, i) => sum + weight * wave[wave.length - weights.length + i], 0));
  return wave.slice(-steps);
}

function render({ model, el }) {
  const stages = readStages(model.get("stages"), model.get("weights"));
  const series = model.get("series");
  const { root: heard, say } = voice();
  const keep = keeper(model);
  let width = 0;
  let cursor = 75; // the step that the arrow keys move

  const fresh = random(7);
  const jitter = Array.from({ length: GIVEN }, () => Math.sqrt(-2 * Math.log(1 - fresh())) * Math.cos(TAU * fresh()));
  const preset = (name, from, to) => Array.from({ length: to - from }, (_, i) => PRESETS[name][1](from + i, series));
  const left = 30;
  const x = (step) => left + (step / (GIVEN + AHEAD - 1)) * (width - left - 4);
  const high = () => Math.min(250, 150 + width / 7);
  const y = (value) => 8 + ((LIMIT - value) / (2 * LIMIT)) * (high() - 34);

  const drawing = node("div", { class: "wn-drawing" });
  // Over the part that can be drawn: a pointer draws, arrow keys move a step and lift or lower a hill there.
  const pad = node("div", {
    class: "wn-pad", tabindex: 0, role: "slider", "aria-label": "the wave: arrows to the sides choose a step, arrows up and down move it",
    "aria-valuemin": -LIMIT, "aria-valuemax": LIMIT,
    onpointerdown: (event) => {
      pad.setPointerCapture(event.pointerId);
      last = undefined;
      trace(event);
    },
    onpointermove: (event) => pad.hasPointerCapture(event.pointerId) && trace(event),
    onfocus: () => draw(), onblur: () => draw(),
    onkeydown: (event) => {
      const to = { ArrowLeft: cursor - 1, ArrowRight: cursor + 1, PageUp: cursor - 10, PageDown: cursor + 10, Home: 0, End: GIVEN - 1 }[event.key];
      const lift = { ArrowUp: 0.1, ArrowDown: -0.1 }[event.key];
      if (to === undefined && lift === undefined) return;
      event.preventDefault();
      if (to !== undefined) {
        cursor = clamp(to, 0, GIVEN - 1);
        draw();
      } else {
        const hill = (t) => (Math.abs(t - cursor) < 6 ? (1 + Math.cos((Math.PI * (t - cursor)) / 6)) / 2 : 0);
        change(model.get("wave").map((value, t) => clamp(value + lift * hill(t), -LIMIT, LIMIT)));
      }
    },
  });
  const board = node("div", { class: "wn-board" }, drawing, pad);
  const verdict = node("p", { class: "wn-note wn-explanation" });
  const which = choice("Begin with", [["", "your own drawing"], ...Object.entries(PRESETS).map(([name, [title]]) => [name, title])],
    model.get("preset"), (name) => (name ? begin(name) : keep("preset", "")));
  const network = choice("Both were fitted to", stages.map(({ title }, i) => [`${i}`, title]), `${model.get("network")}`, (i) => keep("network", Number(i)));
  const noise = slider("Noise", { min: 0, max: 0.1, step: 0.005, value: model.get("noise"), show: (sd) => sd.toFixed(3) }, (sd) => keep("noise", sd));

  function begin(name) {
    model.set("preset", name);
    keep("wave", preset(name, 0, GIVEN));
  }

  function change(wave) {
    model.set("preset", "");
    keep("wave", wave);
  }

  // A stroke of the pointer: a straight line from where it was.
  let last;
  function trace(event) {
    const box = drawing.getBoundingClientRect();
    const step = clamp(Math.round(((event.clientX - box.left - left) / (width - left - 4)) * (GIVEN + AHEAD - 1)), 0, GIVEN - 1);
    const value = clamp(LIMIT - ((event.clientY - box.top - 8) / (high() - 34)) * 2 * LIMIT, -LIMIT, LIMIT);
    const [from, start] = last ?? [step, value];
    const wave = [...model.get("wave")];
    const many = Math.abs(step - from);
    for (let i = 0; i <= many; i++) wave[from + Math.sign(step - from) * i] = many ? start + ((value - start) * i) / many : value;
    last = [step, value];
    cursor = step;
    change(wave);
  }

  // What is read, what both make of it, and the truth where it is known.
  function continued() {
    const chosen = model.get("network"), unit = model.get("units")[chosen];
    const read = model.get("wave").map((value, t) => value + model.get("noise") * jitter[t]);
    const own = read.map((value) => value / unit);
    const rescaled = (wave) => wave.map((value) => clamp(value * unit, -1e6, 1e6));
    const weights = model.get("linear")[chosen];
    return {
      read, order: weights.length,
      network: rescaled(freeRun(stages[chosen], own, AHEAD)), linear: rescaled(weighedRun(weights, own, AHEAD)),
      truth: model.get("preset") && preset(model.get("preset"), GIVEN, GIVEN + AHEAD),
    };
  }

  function told({ network, linear, truth }) {
    const judged = (wave) => {
      const gone = wave.findIndex((value) => Math.abs(value) > LIMIT);
      if (gone >= 0) return `leaves the drawing after ${gone + 1} step${gone ? "s" : ""}`;
      if (!truth) return `stays between ${Math.min(...wave).toFixed(2)} and ${Math.max(...wave).toFixed(2)}`;
      const error = Math.sqrt(wave.reduce((sum, value, i) => sum + (value - truth[i]) ** 2, 0) / AHEAD);
      return error < 0.0005 ? "has an error below 0.001" : `has an error of ${error.toFixed(error < 0.01 ? 3 : 2)}`;
    };
    return `Over ${AHEAD} steps the network ${judged(network)}; the weighted sum ${judged(linear)}.${truth ? "" : " How your own wave goes on, nobody knows."}`;
  }

  const points = (values, from) => values.map((value, i) => `${x(from + i).toFixed(1)},${y(clamp(value, -9, 9)).toFixed(1)}`).join(" ");
  function draw() {
    if (!width) return;
    const waves = continued();
    const { read, network, linear, truth, order } = waves;
    const height = high(), bottom = height - 26, end = x(GIVEN - 0.5);
    verdict.textContent = told(waves);
    say(verdict.textContent);
    const parts = [svg("rect", { x: x(GIVEN - order), y: 8, width: end - x(GIVEN - order), height: bottom - 8, class: "wn-marked" })];
    for (const value of [-1, 0, 1]) parts.push(svg("line", { x1: left, x2: width - 4, y1: y(value), y2: y(value), class: "wn-gridline" }),
      svg("text", { x: left - 5, y: y(value) + 4, class: "wn-small wn-end" }, `${value}`.replace("-", "−")));
    parts.push(svg("line", { x1: end, x2: end, y1: 8, y2: bottom, class: "wn-mark" }),
      svg("text", { x: (left + end) / 2, y: height - 8, class: "wn-small wn-middle" }, width < 480 ? "draw here" : `draw here: ${GIVEN} steps, all read`),
      svg("text", { x: (end + width) / 2, y: height - 8, class: "wn-small wn-middle" }, width < 480 ? "continued" : `continued: ${AHEAD} steps`));
    const leaves = linear.findIndex((value) => Math.abs(value) > LIMIT); // from there on it would only cross the picture
    const joined = (wave) => points([read.at(-1), ...wave], GIVEN - 1);
    const inside = { x: left, y: 8, width: width - left - 4, height: bottom - 8 };
    const lines = [svg("polyline", { points: joined(leaves < 0 ? linear : linear.slice(0, leaves + 1)), class: "wn-curve wn-soft wn-broken wn-wider" }),
      svg("polyline", { points: points(read, 0), class: "wn-curve wn-ink" }),
      truth && svg("polyline", { points: joined(truth), class: "wn-curve wn-ink wn-thin" }),
      svg("polyline", { points: joined(network), class: "wn-curve wn-red" })].filter(Boolean);
    if (document.activeElement === pad) lines.push(svg("circle", { cx: x(cursor), cy: y(read[cursor]), r: 5, class: "wn-now" }));
    parts.push(svg("svg", { ...inside, viewBox: Object.values(inside).join(" ") }, ...lines));
    drawing.replaceChildren(svg("svg", { viewBox: `0 0 ${width} ${height}`, width, height, role: "img", "aria-label": `a wave of ${GIVEN} steps and two continuations. ${verdict.textContent}` }, ...parts));
    pad.style.left = `${left}px`;
    pad.style.width = `${end - left}px`;
    pad.style.height = `${bottom}px`;
    const value = model.get("wave")[cursor].toFixed(2);
    pad.setAttribute("aria-valuenow", value);
    pad.setAttribute("aria-valuetext", `step ${cursor + 1} of ${GIVEN}: ${value}`);
  }

  function update() {
    which.select.value = model.get("preset");
    network.select.value = `${model.get("network")}`;
    noise.place(model.get("noise"));
    draw();
  }

  const unfollow = follow(model, { wave: update, preset: update, network: update, noise: update });
  const { root } = frame("wave", {
    title: "Draw a wave, and let the network continue it",
    attempt: "choose the sines of 25 and 28 steps, then the square wave. Add a little noise, and see which of the two forecasts minds. Then draw over the left part with a finger, the mouse or the arrow keys.",
    legend: [["stroke", "ink", "the wave; right of the dotted line, how it truly goes on"], ["stroke", "red", "the network, running free"],
      ["broken", "soft", "the weighted sum of the last values"], ["square", "rim", "all that the sum sees"]],
    answer: [board, verdict],
    controls: [which.root, stages.length > 1 && network.root, noise.root],
    more: [heard],
  });
  // For the console and the tests.
  root.wavenet = { freeRun: (i, values, steps) => freeRun(stages[i], values, steps), weighedRun };
  el.append(root);
  if (!model.get("wave").length) begin(model.get("preset"));
  const stopWatching = onWidth(drawing, (now) => ((width = now), update()));
  return () => {
    stopWatching();
    unfollow();
  };
}

export default { render };
