// A name, one letter at a time: which nodes a causal convolution computes now, and which it finds.
//
// A node stands at a level and a column, its own last letter's. Level 0 are the embeddings. Columns
// below 0 are the dots before the name: their nodes are the `before` of each convolution.

const LONGEST = 14; // letters that fit a phone

function render({ model, el }) {
  const [stage] = readStages(model.get("stages"), model.get("weights"));
  const characters = model.get("characters");
  const { root: heard, say } = voice();
  const convolutions = stage.layers.filter((layer) => layer.kind === "convolution");
  const levels = convolutions.length;
  const stops = [1, ...stage.layers.flatMap((layer, i) => (layer.kind === "tanh" ? [i + 1] : []))];
  const inTree = 2 ** levels - 1; // nodes that one tree fuses
  // How far before the name the nodes of a level are needed, from the levels above it.
  const front = (level) => convolutions.slice(level).reduce((sum, { dilation }) => sum + dilation, 0);
  let letters, values, nodes, picked, hovered, width = 0;

  const keep = keeper(model);
  const line = textField("A name", model.get("text"), (typed) => keep("text", typed), 500); // what is pasted is not cut
  const text = line.input;
  const problem = node("p", { class: "wn-problem", role: "alert" });
  const last = () => letters.length - 1;
  const here = () => Math.min(Math.max(model.get("step"), 0), last());
  const step = slider("Letters read", { min: 0, max: LONGEST, value: model.get("step") }, (s) => keep("step", s));
  const next = node("button", { type: "button", onclick: () => keep("step", here() < last() ? here() + 1 : 0) });
  const play = node("button", { type: "button", onclick: playThrough }, "Play");
  const counters = node("p", { class: "wn-counters" });
  const explanation = node("p", { class: "wn-note wn-explanation" });
  const drawing = node("div", { class: "wn-drawing" });
  const strip = node("div", { class: "wn-drawing" });
  const detail = node("p", { class: "wn-note wn-explanation" });

  const children = (level, column) => (level ? [column - convolutions[level - 1].dilation, column] : []);
  function below(level, column, found = new Set()) {
    found.add(`${level},${column}`);
    for (const child of children(level, column)) below(level - 1, child, found);
    return found;
  }
  const sees = (level, column) => [...below(level, column)].filter((name) => name.startsWith("0,"))
    .map((name) => Number(name.slice(2))).sort((a, b) => a - b);
  const letterAt = (column) => (column < 0 ? "." : letters[column]);
  const usedBy = (level, column) => letters.map((_, t) => t).filter((t) => below(levels, t).has(`${level},${column}`));

  function numbers(level, column) {
    if (column < 0) return Array.from(convolutions[level].before);
    const { data, shape } = values[stops[level]];
    const C = shape.at(-1);
    return Array.from(data.subarray(column * C, (column + 1) * C));
  }

  function kind(level, column, tree) {
    const s = here();
    if (column < 0) return "front";
    if (column > s) return "later";
    if (!level) return "lookup";
    if (column === s) return "new";
    return tree.has(`${level},${column}`) ? "found" : "done";
  }

  // The name has changed: compute everything, and build the nodes anew.
  function rebuild() {
    const written = [...text.value.normalize("NFC").toLowerCase()];
    const known = written.map((c) => characters.indexOf(c)).filter((i) => i > 0);
    const strange = written.filter((c) => characters.indexOf(c) < 1);
    const complaint = [
      strange.length && `${leftOut(strange, known.map((i) => characters[i]).join(""))} The model knows ${characters[1]} to ${characters.at(-1)}.`,
      known.length > LONGEST && `The first ${LONGEST} letters are drawn.`,
    ].filter(Boolean).join(" ");
    if (problem.textContent !== complaint) problem.textContent = complaint;
    const typed = known.slice(0, LONGEST);
    const tokens = Int32Array.from([0, ...typed]);
    letters = [...tokens].map((i) => characters[i]);
    values = forward(stage, tokens, tokens.length);
    step.input.max = last();
    step.place(here());
    picked = { level: levels, column: here() };
    hovered = null;
    build();
    paint();
  }

  function build() {
    if (!width) return;
    const columns = letters.length + front(0);
    const apart = width / columns;
    const r = Math.min(8, apart * 0.36);
    const x = (column) => (column + front(0) + 0.5) * apart;
    const tall = width < 480 ? 52 : 60;
    const y = (level) => 26 + (levels - level) * tall;
    const height = y(0) + 40;
    const edges = [], marks = [], words = [];
    nodes = new Map();
    for (let level = 0; level <= levels; level++) {
      words.push(svg("text", { x: 0, y: y(level) - r - 8, class: "wn-small" }, level ? `level ${level}` : "embedding"));
      for (let column = -front(level); column <= last(); column++) {
        const name = `${level},${column}`;
        const lines = children(level, column).map((child) =>
          svg("path", { d: `M${x(child)} ${y(level - 1) - r}C${x(child)} ${y(level) + tall / 2} ${x(column)} ${y(level) + tall / 2} ${x(column)} ${y(level) + r}`, class: "wn-link" }));
        const mark = svg("g", {
          class: "wn-mark-node", role: "button", tabindex: -1,
          onclick: () => pick({ level, column }), onfocus: () => pick({ level, column }),
          onpointerenter: () => hover({ level, column }), onpointerleave: () => hover(null),
        },
        svg("rect", { x: x(column) - apart / 2, y: y(level) - tall / 2, width: apart, height: tall, class: "wn-touch" }),
        level ? svg("circle", { cx: x(column), cy: y(level), r })
          : svg("rect", { x: x(column) - 0.85 * r, y: y(level) - 0.85 * r, width: 1.7 * r, height: 1.7 * r, class: "wn-dot" }));
        nodes.set(name, { level, column, mark, lines });
        edges.push(...lines);
        marks.push(mark);
      }
    }
    const leaves = Array.from({ length: columns }, (_, i) => i - front(0));
    const leafTexts = leaves.map((column) => svg("text", { x: x(column), y: y(0) + 28, class: "wn-leaf" }, letterAt(column)));
    nodes.leaves = new Map(leaves.map((column, i) => [column, leafTexts[i]]));
    const root = svg("svg", { viewBox: `0 0 ${width} ${height}`, width, height, role: "group", "aria-label": `the nodes for ${letters.join("")}; arrow keys move among them` },
      ...edges, ...words, ...leafTexts, ...marks);
    root.addEventListener("keydown", move);
    drawing.replaceChildren(root);
  }

  function move(event) {
    const { level, column } = picked;
    const there = {
      ArrowRight: [level, column + 1], ArrowLeft: [level, column - 1],
      ArrowUp: [level + 1, column], ArrowDown: [level - 1, column],
    }[event.key];
    if (!there) return;
    event.preventDefault();
    nodes.get(there.join(","))?.mark.focus();
  }

  function pick(at) {
    picked = at;
    paint();
    say(detail.textContent);
  }

  function hover(at) {
    hovered = at;
    paint();
  }

  function paint() {
    const s = here();
    const tree = below(levels, s);
    const fused = [...tree].filter((name) => !name.startsWith("0,"));
    const found = fused.filter((name) => Number(name.split(",")[1]) < s);
    const p = softmax(values.at(-1).data.subarray(s * characters.length, (s + 1) * characters.length));
    counters.textContent = `On levels 1 to ${levels}, computed now: ${fused.length - found.length}, found: ${found.length}. The tree would compute ${inTree}. So far: ${levels * (s + 1)} nodes instead of ${inTree * (s + 1)}.`;
    next.textContent = s < last() ? "Next letter" : "Start again";
    explanation.textContent = `After “${letters.slice(0, s + 1).join("")}” the next character: ${favourites(characters, p)}.`;
    if (!width) return;

    const shown = hovered ?? picked;
    const field = below(shown.level, shown.column);
    const seen = sees(shown.level, shown.column);
    const users = usedBy(shown.level, shown.column);
    for (const [name, { level, column, mark, lines }] of nodes) {
      const state = kind(level, column, tree);
      mark.setAttribute("class", `wn-mark-node wn-node-${state}${state === "front" && level && tree.has(name) ? " wn-node-kept" : ""}${field.has(name) ? " wn-field" : ""}`);
      mark.setAttribute("tabindex", level === picked.level && column === picked.column ? 0 : -1);
      mark.setAttribute("aria-pressed", String(level === picked.level && column === picked.column));
      mark.setAttribute("aria-label", `${level ? `level ${level}` : "embedding"}, column ${column + 1}, sees ${sees(level, column).map(letterAt).join("")}: ${WORDS[state]}`);
      for (const line of lines) line.setAttribute("class", `wn-link${field.has(name) ? " wn-link-field" : tree.has(name) ? " wn-link-now" : ""}`);
    }
    for (const [column, leaf] of nodes.leaves) leaf.setAttribute("class", `wn-leaf${seen.includes(column) ? " wn-seen" : column > s ? " wn-off-leaf" : ""}`);
    const place = shown.level ? `Level ${shown.level}` : "Embedding";
    const use = shown.column < 0 ? "the same for every name"
      : `used by ${users.length} ${users.length > 1 ? "predictions" : "prediction"} of this name`;
    detail.textContent = `${place}, column ${shown.column + 1}: sees “${seen.map(letterAt).join("")}”, ${use}. Its ${numbers(shown.level, shown.column).length} numbers:`;
    paintStrip(numbers(shown.level, shown.column), shown.level ? 1 : 2.5);
  }

  function paintStrip(row, scale) {
    const columns = Math.min(row.length, 64);
    const side = Math.min(width / columns, 9);
    const height = side * Math.ceil(row.length / columns);
    strip.replaceChildren(svg("svg", { viewBox: `0 0 ${width} ${height}`, width, height, role: "img", "aria-label": `${row.length} numbers, ${row.filter((v) => v > 0).length} of them above zero` },
      ...row.map((value, c) => svg("rect", {
        x: (c % columns) * side, y: Math.floor(c / columns) * side, width: side, height: side,
        class: value > 0 ? "wn-above" : "wn-below", "fill-opacity": Math.min(1, Math.abs(value) / scale).toFixed(2),
      }))));
  }

  let playing;
  function playThrough() {
    clearInterval(playing);
    keep("step", 0);
    playing = setInterval(() => {
      if (here() >= last()) clearInterval(playing);
      else keep("step", here() + 1);
    }, 1100);
  }

  const unfollow = follow(model, {
    text: () => {
      if (text.value !== model.get("text")) text.value = model.get("text");
      rebuild();
      say(explanation.textContent);
    },
    step: () => {
      step.place(here());
      picked = { level: levels, column: here() };
      paint();
      say(`${counters.textContent} ${explanation.textContent}`);
    },
  });

  const { root } = frame("convolution", {
    title: "A convolution reads a name: each letter costs one column of nodes",
    attempt: "press Next letter. Only the orange column is computed; the blue nodes are there already, and the tree would compute them again.",
    legend: [["ring", "red", "computed now"], ["ring", "blue", "found: the tree would compute it again"], ["ring", "soft", "computed before"],
      ["dotted", "soft", "before the name: always the same; with a blue rim: found"],
      ["box", "soft", "an embedding: looked up, not counted"]],
    answer: [counters, explanation, drawing, problem],
    controls: [node("div", { class: "wn-buttons" }, next, play), step.root, line.root],
    more: [detail, strip, heard],
  });
  // For the console and the tests: the logits of whole names of one length, each with its dot in front.
  root.wavenet = { logits: (tokens, T) => Array.from(logits(stage, Int32Array.from(tokens), T).data) };
  el.append(root);
  rebuild();
  const stopWatching = onWidth(drawing, (now) => ((width = now), build(), paint()));
  return () => {
    stopWatching();
    clearInterval(playing);
    unfollow();
  };
}

// What a node is at the present step, in words.
const WORDS = {
  new: "computed now", found: "found", lookup: "looked up", done: "computed before", front: "before the name", later: "not yet",
};

export default { render };
