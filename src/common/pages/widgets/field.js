// The receptive field of a stack of dilated convolutions, drawn, and its paths counted.
//
// Paths are polynomials in the number of places back: a convolution of K taps and dilation d is
// 1 + z^d + ... + z^((K - 1) d), a residual connection adds 1, layers multiply, and skips add up.

const GROWTHS = [["doubling", "1, 2, 4, ... in each stack"], ["one", "1 everywhere"]];
const DECADES = 10; // the bars' axis ends at 10^10 paths: no setting has more to one input
const BLOCKS = [["tanh", "a tanh"], ["gate", "a gate"], ["residual", "a gate, residual"], ["skip", "a gate, residual, skip"]];

function dilationsOf({ layers, stacks, growth }) {
  return Array.from({ length: layers * stacks }, (_, i) => (growth === "one" ? 1 : 2 ** (i % layers)));
}

// Paths from an output to the input d places back, for d = 0, 1, ...
function pathsOf({ kernelSize, dilations, residual, skip }) {
  const through = (paths, dilation) => {
    const after = new Array(paths.length + (kernelSize - 1) * dilation).fill(0);
    for (let k = 0; k < kernelSize; k++) paths.forEach((n, d) => (after[d + k * dilation] += n));
    return after;
  };
  let paths = [1], skips = [];
  for (const dilation of dilations) {
    const after = through(paths, dilation);
    if (skip) after.forEach((n, d) => (skips[d] = (skips[d] ?? 0) + n));
    if (residual) paths.forEach((n, d) => (after[d] += n));
    paths = after;
  }
  return skip ? skips : paths;
}

// The parameters of `common.models.wavenet`, as many channels in the skips as in the blocks.
function parametersOf({ kernelSize, dilations, channels: C, vocabulary: V, gate, skip }) {
  const inside = gate ? 2 * C : C, map = C * C + C, depth = dilations.length;
  const maps = skip ? 2 * depth - 1 : depth; // the last block has nothing to hand on
  return V * C + depth * (kernelSize * C * inside + inside) + maps * map + map + C * V + V;
}

function render({ model, el }) {
  const { root: heard, say } = voice();
  const keep = keeper(model);
  const number = (text, trait, low, high) => slider(text, { min: low, max: high, value: model.get(trait) }, (n) => keep(trait, n));
  const sliders = {
    kernel_size: number("Kernel size", "kernel_size", 2, 4),
    layers: number("Layers in a stack", "layers", 1, 5),
    stacks: number("Stacks", "stacks", 1, 3),
    channels: number("Channels", "channels", 8, 128),
    back: slider("Output, places from the end", { min: 0, max: 20, value: model.get("back") }, (n) => keep("back", n)),
  };
  const choices = {
    growth: choice("Dilations", GROWTHS, model.get("growth"), (to) => keep("growth", to)),
    block: choice("A block has", BLOCKS, model.get("block"), (to) => keep("block", to)),
  };
  const counters = node("p", { class: "wn-counters" });
  const explanation = node("p", { class: "wn-note wn-explanation" });
  const drawing = node("div", { class: "wn-drawing wn-clickable" });
  let width = 0;

  function now() {
    const get = (name) => model.get(name);
    const has = BLOCKS.findIndex(([key]) => key === get("block"));
    const sizes = {
      kernelSize: get("kernel_size"), channels: get("channels"), vocabulary: get("vocabulary"),
      dilations: dilationsOf({ layers: get("layers"), stacks: get("stacks"), growth: get("growth") }),
      gate: has >= 1, residual: has >= 2, skip: has >= 3,
    };
    return { ...sizes, paths: pathsOf(sizes), parameters: parametersOf(sizes) };
  }

  function paint() {
    const { kernelSize, dilations, paths, parameters } = now();
    const field = paths.length, total = paths.reduce((sum, n) => sum + n, 0), most = Math.max(...paths);
    const at = paths.indexOf(most), last = paths.lastIndexOf(most);
    counters.textContent = `Dilations ${dilations.join(", ")}. Receptive field: ${count(field)}. Paths: ${count(total)}. Parameters: ${count(parameters)}.`;
    const columns = Math.max(24, Math.min(64, Math.floor(width / 10))); // whatever the field: it is seen to grow
    const back = Math.min(model.get("back"), columns - 1), output = columns - 1 - back;
    const beyond = at > output ? " (left of the picture)" : last > output ? " (some of them left of the picture)" : "";
    const where = paths.every((n) => n === most) ? `${count(most)} to each input`
      : `${count(most)} to the input ${at === last ? at : `${at} to ${last}`} back${beyond}, ${count(paths.at(-1))} to the furthest`;
    explanation.textContent = `Paths: ${where}. At 16,000 samples a second the field is ${(field / 16).toFixed(field < 160 ? 1 : 0)} milliseconds of sound.`;
    if (!width) return;

    sliders.back.input.max = columns - 1;
    sliders.back.place(back);
    const depth = dilations.length, apart = width / columns, space = 225;
    const tall = Math.min(45, space / depth), r = Math.min(5, apart * 0.36, tall * 0.22);
    const x = (column) => (column + 0.5) * apart, y = (level) => 28 + space - level * tall;
    const bars = 86, floor = y(0) + r + 26 + bars, height = floor + 18;
    // A logarithmic axis that does not move: one path is one step high, ten are two.
    const high = (n) => (bars * (1 + Math.log10(n))) / (1 + DECADES);

    // What each level must know: level `depth` is the output, level 0 the inputs.
    const lit = [new Set([output])];
    const lines = [];
    for (let level = depth; level > 0; level--) {
      const below = new Set();
      for (const column of lit[0]) {
        for (let k = 0; k < kernelSize; k++) {
          const child = column - k * dilations[level - 1];
          if (child >= 0) below.add(child);
          lines.push(`M${x(column)} ${y(level)}L${x(child)} ${y(level - 1)}`); // leaves the picture where it must
        }
      }
      lit.unshift(below);
    }
    const dots = [], nodes = [];
    for (let level = 0; level <= depth; level++) {
      for (let column = 0; column < columns; column++) {
        if (lit[level].has(column)) {
          const kind = level === depth ? "wn-field-output" : level ? "wn-field-node" : "wn-field-input";
          nodes.push(svg("circle", { cx: x(column), cy: y(level), r, class: kind }));
        } else dots.push(`M${x(column)} ${y(level)}h0`);
      }
    }
    const hidden = Math.max(0, field - 1 - output);
    const rects = paths.slice(0, output + 1).map((n, d) => svg("rect", {
      x: x(output - d) - apart * 0.36, width: apart * 0.72, y: floor - high(n), height: high(n), class: "wn-influence",
    }));
    const scale = [[1, "1 path"], [1e3, "1,000"], [1e6, "1 million"], [1e9, "1 billion"]];
    const grid = scale.map(([n]) => svg("line", { x1: 0, x2: width, y1: floor - high(n), y2: floor - high(n), class: "wn-gridline" }));
    const words = scale.map(([n, word]) => svg("text", { x: 0, y: floor - high(n) - 3, class: "wn-small wn-halo wn-plate" }, word)); // above the bars
    const label = `${depth} layers over ${columns} inputs; the output ${back} places from the end sees ${count(field)} inputs${hidden ? `, ${count(hidden)} of them before the left edge` : ""}`;
    const picture = svg("svg", { viewBox: `0 0 ${width} ${height}`, width, height, role: "img", "aria-label": label, onclick: click },
      svg("path", { d: lines.join(""), class: "wn-field-line" }), svg("path", { d: dots.join(""), class: "wn-field-dots", "stroke-width": Math.max(1.5, r * 0.9) }), ...nodes, ...grid, ...rects, ...words,
      svg("text", { x: 0, y: Math.max(12, y(depth) - r - 8), class: "wn-small" }, "outputs: click one"),
      svg("text", { x: 0, y: floor + 14, class: "wn-small" }, `paths to each input${hidden ? `; ${count(hidden)} more inputs left of these` : ""}`));
    drawing.replaceChildren(picture);

    function click(event) {
      const box = picture.getBoundingClientRect();
      const column = Math.floor(((event.clientX - box.left) / box.width) * columns);
      keep("back", columns - 1 - Math.min(Math.max(column, 0), columns - 1));
    }
  }

  function changed() {
    for (const trait of ["kernel_size", "layers", "stacks", "channels", "back"]) sliders[trait].place(model.get(trait));
    for (const trait of ["growth", "block"]) choices[trait].select.value = model.get(trait);
    paint();
    say(`${counters.textContent} ${explanation.textContent}`);
  }

  const followed = [...Object.keys(sliders), ...Object.keys(choices)];
  const unfollow = follow(model, Object.fromEntries(followed.map((trait) => [trait, changed])));
  const { root } = frame("receptive", {
    title: "The receptive field: how far back one output sees",
    attempt: "move Stacks up by one. The field grows by a few inputs; the paths to each of them become many times as many.",
    legend: [["ring", "red", "an output"], ["ring", "blue", "what it needs on the way"], ["ring", "green", "the inputs that it sees"],
      ["square", "green", "paths to that input; each line is a thousand times the one below"]],
    answer: [drawing, counters], // what a slider changes stands beside it
    controls: [sliders.stacks, sliders.layers, sliders.kernel_size, sliders.channels, choices.growth, choices.block, sliders.back].map((control) => control.root),
    more: [explanation, heard],
  });
  // For the console and the tests: what the widget says now, in numbers.
  root.wavenet = { now };
  el.append(root);
  paint();
  const stopWatching = onWidth(drawing, (to) => ((width = to), paint()));
  return () => {
    stopWatching();
    unfollow();
  };
}

export default { render };
