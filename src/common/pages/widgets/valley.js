// A valley, and the path of an optimiser through it.

const RATES = [0.001, 0.002, 0.005, 0.01, 0.02, 0.03, 0.05, 0.064, 0.067, 0.1, 0.2, 0.3, 0.5, 1];
const KINDS = { sgd: "SGD", momentum: "Momentum 0.9", rmsprop: "RMSprop", adam: "Adam" };

// What `common.optim` computes, for one number p with gradient g: the new p.
const STEPS = {
  sgd: (p, g, lr) => p - lr * g,
  momentum(p, g, lr, kept) {
    kept.b = 0.9 * (kept.b ?? 0) + g;
    return p - lr * kept.b;
  },
  rmsprop(p, g, lr, kept) {
    kept.v = 0.99 * (kept.v ?? 0) + 0.01 * g * g;
    return p - (lr * g) / (Math.sqrt(kept.v) + 1e-8);
  },
  adam(p, g, lr, kept) {
    kept.t = (kept.t ?? 0) + 1;
    kept.m = 0.9 * (kept.m ?? 0) + 0.1 * g;
    kept.v = 0.999 * (kept.v ?? 0) + 0.001 * g * g;
    const size = Math.sqrt(kept.v / (1 - 0.999 ** kept.t)) + 1e-8;
    return p - (lr * (kept.m / (1 - 0.9 ** kept.t))) / size;
  },
};

function path(kind, lr, steep, unit, steps) {
  const points = [[-4, 1.2]], kept = [{}, {}], slope = [1, steep];
  for (let step = 0; step < steps; step++)
    points.push(points[step].map((p, i) => STEPS[kind](p, unit * slope[i] * p, lr, kept[i])));
  return points;
}

function render({ model, el }) {
  const keep = keeper(model);
  const { root: heard, say } = voice();
  const nearest = (rate) => RATES.reduce((found, each, i) => (Math.abs(Math.log(each / rate)) < Math.abs(Math.log(RATES[found] / rate)) ? i : found), 0);
  let width = 0;

  const kind = choice("Optimiser", Object.entries(KINDS), model.get("kind"), (value) => keep("kind", value));
  const rate = slider("Learning rate", { min: 0, max: RATES.length - 1, value: nearest(model.get("rate")), show: (i) => String(RATES[i]) }, (i) => keep("rate", RATES[i]));
  const steep = slider("Steeper across", { min: 1, max: 60, value: model.get("steep"), show: (n) => `${n} times` }, (n) => keep("steep", n));
  const unit = choice("Gradients", [["1", "as they are"], ["10", "10 times as large"], ["1000", "1,000 times as large"]], String(model.get("unit")), (value) => keep("unit", Number(value)));
  const steps = slider("Steps", { min: 1, max: 100, value: model.get("steps") }, (n) => keep("steps", n));
  const drawing = node("div", { class: "wn-drawing" });
  const note = node("p", { class: "wn-note wn-explanation" });

  function draw() {
    if (!width) return;
    const points = path(model.get("kind"), RATES[nearest(model.get("rate"))], model.get("steep"), model.get("unit"), model.get("steps"));
    const height = Math.min(340, Math.max(200, 0.5 * width));
    const x = (v) => ((v + 4.8) / 6.6) * width, y = (v) => ((1.9 - v) / 3.8) * height;
    const rings = [0.1, 0.5, 1.5, 4, 8, 16, 28].map((h) => svg("ellipse", {
      cx: x(0), cy: y(0), class: "wn-ring",
      rx: (Math.sqrt(2 * h) / 6.6) * width, ry: (Math.sqrt((2 * h) / model.get("steep")) / 3.8) * height,
    }));
    // far outside it makes no difference where
    const near = points.map((p) => p.map((v) => Math.max(-1e4, Math.min(1e4, Number.isFinite(v) ? v : 1e4))));
    const outside = points.findIndex(([px, py]) => !(Math.abs(px) < 5 && Math.abs(py) < 2.5));
    const [px, py] = points.at(-1);
    const left = 0.5 * (px * px + model.get("steep") * py * py), start = 0.5 * (16 + model.get("steep") * 1.44);
    const now = left < 1e-3 ? "practically 0" : Number(left.toPrecision(2));
    const told = left < 1e6 ? `height ${now}; at the start it was ${Number(start.toPrecision(3))}` : "far out of the valley";
    note.textContent = `${KINDS[model.get("kind")]} after ${model.get("steps")} steps: ${told}${outside > 0 ? `; it left the picture at step ${outside}` : ""}.`;
    drawing.replaceChildren(svg("svg", { viewBox: `0 0 ${width} ${height}`, width, height, role: "img", "aria-label": `A valley seen from above, and the path of ${note.textContent}` },
      ...rings,
      svg("polyline", { class: "wn-curve wn-colour-0", points: near.map(([a, b]) => `${x(a).toFixed(1)},${y(b).toFixed(1)}`).join(" ") }),
      ...near.filter(([a, b]) => Math.abs(a) < 5 && Math.abs(b) < 3).map(([a, b]) => svg("circle", { cx: x(a).toFixed(1), cy: y(b).toFixed(1), r: 2.4, class: "wn-below" })),
      svg("text", { x: x(0), y: y(0) + 6, class: "wn-leaf" }, "★")));
  }

  const changed = (control) => () => {
    control();
    draw();
    say(note.textContent);
  };
  const unfollow = follow(model, {
    kind: changed(() => (kind.select.value = model.get("kind"))),
    rate: changed(() => rate.place(nearest(model.get("rate")))),
    steep: changed(() => steep.place(model.get("steep"))),
    unit: changed(() => (unit.select.value = String(model.get("unit")))),
    steps: changed(() => steps.place(model.get("steps"))),
  });
  const { root } = frame("valley", {
    title: "Down a long valley: the path of an optimiser, seen from above",
    attempt: "choose SGD, then move the learning rate up, step by step. The zigzag grows, and at 0.1 it leaves the picture.",
    legend: [["stroke", "blue", "the path, a dot a step"], ["stroke", "rim", "points of equal height"], ["star", "ink", "the lowest point"]],
    answer: [drawing, note],
    controls: [kind.root, rate.root, steps.root, steep.root, unit.root],
    more: [heard],
  });
  root.wavenet = { path }; // for the console and the tests
  el.append(root);
  const stopWatching = onWidth(drawing, (now) => ((width = now), draw()));
  return () => {
    stopWatching();
    unfollow();
  };
}

export default { render };
