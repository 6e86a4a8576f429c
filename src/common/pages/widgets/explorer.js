// The runs of a search: one line a run through all that was chosen for it, and its curve.
//
// Runs are numbered as the search made them and ordered by their loss. One of them is looked at;
// up to four are pinned, stand in the table, and keep one colour until they are unpinned. The axes are
// made from all runs, and stay whichever of them are drawn.

const MOST_PINNED = 4;
const FEW = 12; // so few runs are drawn strong

function render({ model, el }) {
  const axes = model.get("axes");
  const unit = model.get("unit");
  const runs = [...model.get("runs")].sort((a, b) => a.value - b.value);
  runs.forEach((run, rank) => (run.rank = rank + 1));
  const numbered = new Map(runs.map((run) => [run.number, run]));
  const filters = [["", "every run"], ...axes.flatMap(choicesOf)];
  const { root: heard, say } = voice();
  const keep = keeper(model);
  let hovered = null, width = 0, lines = new Map();
  let byKeys = false; // then a pointer that rests where a line comes to lie does not count

  const best = slider("Keep the best",
    { min: 2, max: runs.length, value: model.get("best") || runs.length, show: (n) => `${n} of ${runs.length}` },
    (n) => keep("best", n));
  const only = choice("Only runs with", filters, model.get("only"), (value) => keep("only", value));
  const pin = node("button", { type: "button", onclick: () => toggle(looked()) }, "Pin");
  const unpin = node("button", { type: "button", onclick: () => keep("pinned", []) }, "Unpin all");
  const drawing = node("div", { class: "wn-drawing", onpointermove: (event) => (byKeys &&= !(event.movementX || event.movementY)) });
  const curves = node("div", { class: "wn-drawing" });
  const counted = node("p", { class: "wn-note" });
  const detail = node("p", { class: "wn-explanation" });
  const table = node("div", { class: "wn-scroll" });

  // ---- what is chosen ----------------------------------------------------------------

  // What an axis can be narrowed to: a category, or a third of a range.
  function choicesOf(axis) {
    if (axis.kind === "category") return axis.values.map((value) => [`${axis.name}=${value}`, `${axis.label}: ${value}`]);
    return ["lower", "middle", "upper"].map((third, i) => [`${axis.name}/${i}`, `${axis.label}: ${third} third`]);
  }
  const shareOf = (axis, value) => {
    if (axis.kind === "category") return axis.values.length > 1 ? axis.values.indexOf(value) / (axis.values.length - 1) : 0.5;
    const scale = axis.kind === "log" ? Math.log : Number;
    const [low, high] = axis.range.map(scale);
    return high > low ? (scale(value) - low) / (high - low) : 0.5;
  };
  const valueOf = (run, axis) => run.params[axis.name];

  function passes(run, filter) {
    const axis = axes.find(({ name }) => filter.startsWith(`${name}=`) || filter.startsWith(`${name}/`));
    if (!axis) return true;
    const wanted = filter.slice(axis.name.length + 1);
    if (axis.kind === "category") return String(valueOf(run, axis)) === wanted;
    return Math.min(2, Math.floor(3 * shareOf(axis, valueOf(run, axis)))) === Number(wanted);
  }
  const shown = () => runs.filter((run) => passes(run, model.get("only"))).slice(0, model.get("best") || runs.length);
  const colours = new Map(); // a pinned run's number -> its colour
  function colourOf(run) {
    const now = model.get("pinned");
    for (const number of [...colours.keys()]) if (!now.includes(number)) colours.delete(number);
    for (const number of now)
      if (!colours.has(number)) colours.set(number, [...Array(MOST_PINNED).keys()].find((colour) => ![...colours.values()].includes(colour)));
    return colours.get(run.number);
  }
  const pinned = () => model.get("pinned").map((number) => numbered.get(number)).filter(Boolean);
  function looked() {
    const among = shown();
    return among.find((run) => run.number === model.get("run")) ?? among[0];
  }

  function toggle(run) {
    if (!run) return;
    const now = model.get("pinned");
    if (now.includes(run.number)) keep("pinned", now.filter((number) => number !== run.number));
    else keep("pinned", [...now, run.number].slice(-MOST_PINNED));
  }

  const shortly = (value) => {
    if (typeof value !== "number") return String(value);
    if (value === 0 || Number.isInteger(value)) return String(value);
    return Number(value.toPrecision(2)).toString();
  };
  const told = (run) => axes.map((axis) => `${axis.label} ${shortly(valueOf(run, axis))}`).join(", ");
  const name = (run) => `Run ${run.number}, number ${run.rank} of ${runs.length}: ${unit} ${run.value.toFixed(3)}`;

  // ---- the drawings ------------------------------------------------------------------

  function build() {
    if (!width) return;
    const left = 12, right = 38, top = 64, bottom = 34, height = top + 178 + bottom;
    const count = axes.length + 1;
    const x = (i) => left + (i / (count - 1)) * (width - left - right);
    const y = (share) => height - bottom - share * (height - top - bottom);
    const losses = runs.map((run) => run.value);
    const range = [losses[0], losses[Math.floor(0.9 * (losses.length - 1))]];
    const narrow = x(1) - x(0) < 75;
    const last = { label: unit, kind: "linear", range };
    const clipped = (run) => Math.min(run.value, range[1]);
    const point = (run, i) => [x(i), y(i < axes.length ? shareOf(axes[i], valueOf(run, axes[i])) : shareOf(last, clipped(run)))];
    const scale = [];
    [...axes, last].forEach((axis, i) => {
      const ticks = axis.kind === "category"
        ? axis.values.map((value) => [shareOf(axis, value), value])
        : [[0, shortly(axis.range[0])], [1, `${shortly(axis.range[1])}${axis === last ? "+" : ""}`]];
      if (axis === last) ticks[0][1] = range[0].toFixed(2), ticks[1][1] = `${range[1].toFixed(2)}+`;
      const place = i === 0 ? "" : i === count - 1 ? " wn-end" : " wn-middle";
      const at = i === 0 ? 0 : i === count - 1 ? width : x(i);
      scale.push(svg("line", { x1: x(i), x2: x(i), y1: y(0), y2: y(1), class: "wn-edge" }),
        svg("text", { x: at, y: i % 2 ? 28 : 12, class: `wn-small${place}` }, axis.label),
        ...ticks.map(([share, value]) => {
          // an end stands beyond all lines; where axes stand close, every other one further out
          const out = narrow && i % 2 ? 14 : 0;
          if (share === 0 || share === 1) return svg("text", { x: at, y: share ? y(1) - 6 - out : y(0) + 15 + out, class: `wn-small${place}` }, String(value));
          // between the ends, words run along an axis that has no room beside it
          const turned = narrow ? { transform: `rotate(-90 ${x(i) + 12} ${y(share)})`, x: x(i) + 12 } : { x: x(i) + 4 };
          return svg("text", { ...turned, y: y(share) + (narrow ? 0 : 4), class: `wn-small wn-halo${narrow ? " wn-middle" : ""}` }, String(value));
        }));
    });
    lines = new Map();
    const options = runs.map((run) => {
      const points = [...axes, last].map((_, i) => point(run, i).map((v) => v.toFixed(1)).join(",")).join(" ");
      const option = svg("g", {
        role: "option", tabindex: -1, "aria-label": `${name(run)}, ${told(run)}`,
        onfocus: () => look(run), onclick: () => (look(run), toggle(run)),
        onpointerenter: () => hover(run), onpointerleave: () => hover(null),
      }, svg("polyline", { points, class: "wn-hit" }), svg("polyline", { points, class: "wn-under" }), svg("polyline", { points, class: "wn-line" }));
      lines.set(run, option);
      return option;
    });
    const list = svg("g", { role: "listbox", "aria-multiselectable": "true", "aria-label": "Runs, best first; arrow keys move, Enter pins" }, ...options);
    list.addEventListener("keydown", move);
    drawing.replaceChildren(svg("svg", { viewBox: `0 0 ${width} ${height}`, width, height }, list, svg("g", { "aria-hidden": "true", class: "wn-through" }, ...scale)));
  }

  const finals = runs.map((run) => run.val.at(-1)).sort((a, b) => a - b);
  const lowest = Math.min(...runs.map((run) => Math.min(...run.val))) - 0.01;
  const room = {
    steps: Math.max(...runs.map((run) => run.steps.at(-1))),
    low: lowest, high: Math.max(finals[Math.floor(0.9 * (finals.length - 1))] + 0.05, lowest + 0.3),
  };

  function paintCurves() {
    if (!width) return;
    const left = 40, bottom = 34, height = Math.min(280, 170 + width / 6), among = shown(), kept = pinned(), now = hovered ?? looked();
    const { steps, low, high } = room;
    const unit = high - low > 1 ? 0.5 : 0.1;
    const x = (step) => left + (step / steps) * (width - left - 8);
    const y = (loss) => 8 + ((high - loss) / (high - low)) * (height - bottom - 8);
    const parts = [];
    for (let tick = Math.ceil(low / unit) * unit; tick <= high; tick += unit)
      parts.push(svg("line", { x1: left, x2: width - 8, y1: y(tick), y2: y(tick), class: "wn-gridline" }),
        svg("text", { x: left - 5, y: y(tick) + 4, class: "wn-small wn-end" }, tick.toFixed(1)));
    for (let tick = 0; tick <= 4; tick++)
      parts.push(svg("text", { x: x((tick * steps) / 4), y: height - bottom + 16, class: `wn-small ${tick === 4 ? "wn-end" : "wn-middle"}` }, count(Math.round((tick * steps) / 4))));
    parts.push(svg("text", { x: (left + width) / 2, y: height - 3, class: "wn-small wn-middle" }, "step"),
      svg("text", { x: 0, y: 10, class: "wn-small" }, "nats"));
    const curve = (run, kind) => svg("polyline", { class: kind, points: run.val.map((loss, i) => `${x(run.steps[i]).toFixed(1)},${y(loss).toFixed(1)}`).join(" ") });
    const pinnedCurve = (run) => curve(run, `wn-curve wn-pin-${colourOf(run)}`);
    const others = [...among.filter((run) => run !== now && !kept.includes(run)).map((run) => curve(run, `wn-line ${tierOf(run)}`)),
      ...kept.filter((run) => run !== now).map(pinnedCurve)];
    const rim = now ? [curve(now, "wn-under wn-looked")] : [];
    const lookedAt = now ? [kept.includes(now) ? pinnedCurve(now) : curve(now, `wn-line wn-looked ${tierOf(now)}`)] : [];
    const drawn = among.length <= FEW ? [...rim, ...others, ...lookedAt] : [...others, ...rim, ...lookedAt];
    // what lies above the picture is cut off there
    parts.push(svg("svg", { x: left, y: 8, width: width - left - 8, height: height - bottom - 8, viewBox: `${left} 8 ${width - left - 8} ${height - bottom - 8}` }, ...drawn));
    const pins = kept.map((run) => `run ${run.number} ends at ${run.val.at(-1).toFixed(3)}`).join(", ");
    curves.replaceChildren(svg("svg", {
      viewBox: `0 0 ${width} ${height}`, width, height, role: "img",
      "aria-label": `${model.get("unit")} against steps: ${among.length} runs${now ? `; run ${now.number} ends at ${now.val.at(-1).toFixed(3)}` : ""}${pins ? `; pinned: ${pins}` : ""}`,
    }, ...parts));
  }

  const tierOf = (run) => `wn-tier-${run.rank <= runs.length / 10 ? 0 : run.rank <= runs.length / 3 ? 1 : 2}`;

  function paint() {
    const among = new Set(shown()), kept = pinned(), now = hovered ?? looked(), stop = looked();
    const beside = kept.filter((run) => !among.has(run)).length;
    counted.textContent = `${among.size} of ${runs.length} runs are drawn${beside ? `, and ${beside} pinned beside them` : ""}.`;
    for (const picture of [drawing, curves]) picture.classList.toggle("wn-few", among.size <= FEW);
    for (const [run, line] of lines) {
      const colour = kept.includes(run) ? colourOf(run) : -1;
      const there = among.has(run) || colour >= 0;
      line.setAttribute("class", `wn-run ${tierOf(run)}${colour >= 0 ? ` wn-pinned wn-pin-${colour}` : ""}${run === now ? " wn-looked" : ""}${there ? "" : " wn-gone"}`);
      line.setAttribute("tabindex", run === stop ? 0 : -1);
      line.setAttribute("aria-selected", String(colour >= 0));
      line.setAttribute("aria-hidden", String(!there));
    }
    // The one that is looked at lies on top; where few are drawn its rim would hide the others, so it lies
    // below them unless it is pinned. Moving the focused one would take its focus.
    const group = now && lines.get(now)?.parentNode;
    const onTop = among.size <= FEW && !kept.includes(now) ? [...among, ...kept].filter((run) => run !== now) : [...kept, now];
    if (group) for (const run of onTop) {
      const line = lines.get(run);
      if (line !== document.activeElement && line !== group.lastChild) group.append(line);
    }
    pin.textContent = stop && kept.includes(stop) ? `Unpin run ${stop.number}` : `Pin run ${stop ? stop.number : ""}`;
    pin.disabled = !stop;
    unpin.disabled = !kept.length;
    const above = now && now.val.at(-1) > room.high ? " Its curve ends above the picture." : "";
    detail.textContent = now ? `${name(now)}. ${sentence(told(now))}.${above}` : "No run is left: choose fewer conditions.";
    paintCurves();
    paintTable(kept);
  }
  const sentence = (text) => text[0].toUpperCase() + text.slice(1);

  function paintTable(kept) {
    if (!kept.length) {
      table.replaceChildren(node("p", { class: "wn-note" }, "Pin up to four runs to set them side by side."));
      return;
    }
    const cell = (text, kind) => node("td", kind ? { class: kind } : {}, text);
    const rows = [[unit, (run) => run.value.toFixed(3)], ...axes.map((axis) => [axis.label, (run) => shortly(valueOf(run, axis))])];
    table.replaceChildren(node("table", { class: "wn-table" },
      node("thead", {}, node("tr", {}, node("th", { scope: "col" }, "pinned"),
        ...kept.map((run) => node("th", { scope: "col", class: `wn-head wn-pin-${colourOf(run)}` }, `run ${run.number}`)))),
      node("tbody", {}, ...rows.map(([label, show]) => {
        const shownValues = kept.map(show);
        const differ = new Set(shownValues).size > 1;
        return node("tr", {}, node("th", { scope: "row" }, label), ...shownValues.map((text) => cell(text, differ ? "wn-differs" : "")));
      }))));
  }

  // ---- moving among them -------------------------------------------------------------

  function look(run) {
    if (model.get("run") !== run.number) keep("run", run.number);
    else paint();
  }

  function hover(run) {
    hovered = byKeys ? null : run;
    paint();
  }

  function move(event) {
    byKeys = true;
    hovered = null;
    const among = shown();
    const here = among.indexOf(looked());
    const there = {
      ArrowRight: here + 1, ArrowDown: here + 1, ArrowLeft: here - 1, ArrowUp: here - 1,
      PageDown: here + 10, PageUp: here - 10, Home: 0, End: among.length - 1,
    }[event.key];
    if (event.key === "Enter" || event.key === " ") toggle(looked());
    else if (there === undefined) return;
    else lines.get(among[Math.min(Math.max(there, 0), among.length - 1)])?.focus();
    event.preventDefault();
  }

  const unfollow = follow(model, {
    best: () => {
      best.place(model.get("best"));
      paint();
      say(`${counted.textContent} ${detail.textContent}`);
    },
    only: () => {
      only.select.value = model.get("only");
      paint();
      say(`${counted.textContent} ${detail.textContent}`);
    },
    run: paint,
    pinned: () => {
      paint();
      say(`Pinned: ${pinned().map((run) => `run ${run.number}`).join(", ") || "none"}.`);
    },
  });

  const { root } = frame("explorer", {
    title: "The runs of a search: what was chosen, and what came of it",
    attempt: "move “Keep the best” to 5. What do the best runs have in common? Then press a line to pin its run.",
    legend: [["stroke", "blue", "a run, through its choices to its loss; strong blue: the best tenth"], ["rimmed", "blue", "with a rim: the run that you look at"],
      ["swatches", "ink", "pinned, a colour each"]],
    answer: [drawing, detail, curves],
    controls: [best.root, only.root, node("div", { class: "wn-buttons" }, pin, unpin)],
    more: [counted, table, heard],
  });
  el.append(root);
  paint();
  const stopWatching = onWidth(drawing, (now) => ((width = now), build(), paint()));
  return () => {
    stopWatching();
    unfollow();
  };
}

export default { render };
