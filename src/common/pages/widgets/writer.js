// A text that the reader begins and a model goes on with, character by character. The state goes from step
// to step, so a character costs the same at every place.

const LONGEST = 3000; // characters of a text; each keeps the state after it
const TYPED = 1000; // of which so many can be typed
const AT_ONCE = 200; // that "Write on" adds
const SLICE = 40; // milliseconds of work at a time, and the page answers in between
const DEAR = 8; // bits from which on the tint of the surprise is at its strongest

const STYLE = `
.wn-text { border: 1px solid var(--wn-line); border-radius: 4px; font-family: var(--pst-font-family-monospace, var(--jp-code-font-family, monospace)); font-size: 0.85rem; line-height: 1.6; max-height: 15rem; min-height: 4rem; overflow-wrap: anywhere; overflow-y: auto; padding: 0.5rem 0.7rem; position: relative; white-space: pre-wrap; }
.wn-char { background: color-mix(in srgb, var(--wn-colour) calc(var(--wn-share, 0) * 45%), transparent); padding-block: 0.15em; }
.wn-typed { text-decoration: underline; text-underline-offset: 0.25em; }
.wn-tinted .wn-newline::before { content: "↵"; }
.wn-looked-at { border-radius: 2px; outline: 2px solid var(--wn-ink); }
.wn-text > .wn-hidden { user-select: none; }
.wn-writer .wn-control[hidden] { display: none; }
.wn-writer .wn-answer > .wn-note { margin-block: 0.35rem; }
`;

// The model reads one character more. `before` is what a step returned, and stays as it is; without it the
// model begins. Its `row` holds the logits of what comes next, its `state` first the cell's output.
function step(stage, index, before) {
  const cell = stage.layers.find(recurs);
  const memory = new Map(before ? [[cell, before.state]] : []);
  const row = forward(stage, Int32Array.of(index), 1, memory).at(-1).data;
  return { index, row, state: memory.get(cell), bits: before && surprise(before.row, index) };
}

// What a character costs by a row of logits, in bits: -log2 of its probability at temperature 1.
function surprise(row, index) {
  const best = Math.max(...row);
  const sum = row.reduce((total, x) => total + Math.exp(x - best), 0);
  return (Math.log(sum) + best - row[index]) / Math.LN2;
}

// The index of a character, drawn with these probabilities.
function drawn(p, draw) {
  let left = draw();
  const found = p.findIndex((share) => (left -= share) < 0);
  return found < 0 ? p.findLastIndex((share) => share > 0) : found; // rounding ate the last bit
}

function render({ model, el }) {
  const [stage] = readStages(model.get("stages"), model.get("weights"));
  const tokens = model.get("tokens"); // "" is one that no text holds
  const numbers = new Map(tokens.map((token, i) => [token, i]).filter(([token]) => token));
  const allowed = numbers.size < tokens.length ? new Map([...numbers.values()].map((i) => [i, i])) : undefined;
  const units = model.get("units");
  const H = stage.layers.find(recurs).hidden;
  const { root: heard, say } = voice();
  const keep = keeper(model);

  const nextOf = (row, temperature) => softmax(row, temperature, undefined, 1, allowed);
  const nameOf = (c) => ({ "\n": "new line", " ": "blank", "\t": "tab" })[c] ?? `“${c}”`;
  const listed = (p) => likeliest(p).map((i) => `${nameOf(tokens[i])} ${percent(p[i])}`).join(", ");
  const signed = (value) => value.toFixed(2).replace("-", "−");

  // ---- the text: what is to be read, what was read, and how many characters the model is still to write

  let given = []; // indices of the characters that were typed
  let read = []; // what `step` returned for each character so far, the written ones too
  let wanted = 0;
  let draw, frameAsked;
  const written = () => Math.max(0, read.length - given.length);
  const busy = () => read.length < given.length || wanted > 0;
  const textOf = (steps) => steps.map(({ index }) => tokens[index]).join("");

  // Another beginning: what it shares with the last one is not read again, what was written is gone.
  function begin() {
    const typed = [...model.get("text")].slice(0, TYPED);
    given = typed.filter((c) => numbers.has(c)).map((c) => numbers.get(c));
    let same = 0;
    while (same < read.length && read[same].index === given[same]) same++;
    takeBack(same);
    const heads = given.map((i) => tokens[i]).join("").replaceAll("\n", " ");
    problem.textContent = leftOut(typed.filter((c) => !numbers.has(c)), heads.length > 24 ? `…${heads.slice(-24)}` : heads);
    field.setAttribute("aria-invalid", String(problem.textContent !== ""));
    more.disabled = !given.length;
    work();
  }

  // All but the first characters go, and the draws begin anew: the same clicks write the same text.
  function takeBack(kept) {
    wanted = 0;
    looked = undefined;
    read.length = Math.min(kept, read.length);
    draw = random(model.get("seed"));
    resettle();
  }

  // Reads and writes for a while, shows what there is, and goes on in the next frame.
  function work() {
    cancelAnimationFrame(frameAsked);
    const until = performance.now() + SLICE;
    while (busy() && performance.now() < until) {
      if (read.length < given.length) read.push(step(stage, given[read.length], read.at(-1)));
      else if (read.length >= LONGEST) wanted = 0;
      else {
        read.push(step(stage, drawn(nextOf(read.at(-1).row, model.get("temperature")), draw), read.at(-1)));
        wanted--;
      }
    }
    show();
    if (busy()) frameAsked = requestAnimationFrame(work);
    else {
      keep("written", textOf(read.slice(given.length)));
      say(`${written() ? `${count(written())} characters are written. ` : ""}${next.textContent} ${summary.textContent}`);
    }
  }

  // ---- what is shown

  const byUser = node("span", { class: "wn-typed" }), byModel = node("span");
  const between = node("span", { class: "wn-hidden" });
  const block = node("div", { class: "wn-text", tabindex: 0, role: "group", "aria-label": "the text so far" }, byUser, between, byModel);
  const problem = node("p", { class: "wn-problem", role: "alert" });
  const readout = node("p", { class: "wn-note wn-explanation" });
  const next = node("p", { class: "wn-note" });
  const summary = node("p", { class: "wn-note" });
  const legend = (entries) => entries.map(([shape, colour, words]) => node("li", { class: `wn-${shape} wn-${colour}` }, words));
  const USUAL = [["stroke", "ink", "underlined: yours"], ["box", "ink", "framed: looked at"]];
  const spans = () => [...byUser.children, ...byModel.children];
  let shown = [], mine = 0; // the steps that have a span, and how many of them were typed
  let looked; // the place of the character that is looked at; undefined: the last one

  // The unit that colours the text, and its name; undefined where none does.
  function unitOf(colour = model.get("colour")) {
    if (colour === "any") return [`unit ${model.get("unit")}`, model.get("unit")];
    return units[colour];
  }

  // What colours a character: its words, its share of the strongest tint, and the colour.
  function tint(one) {
    if (model.get("colour") === "surprise")
      return { says: one.bits === undefined ? "nothing came before it" : `${one.bits.toFixed(1)} bits`, share: Math.min(1, (one.bits ?? 0) / DEAR), colour: "pink" };
    const unit = unitOf();
    if (!unit) return { says: "", share: 0, colour: "soft" };
    const value = one.state[0][unit[1]];
    return { says: signed(value), share: Math.abs(value), colour: value > 0 ? "blue" : "colour-1" };
  }

  function paint(span, one) {
    const { share, colour } = tint(one);
    const kind = tokens[one.index] === "\n" ? " wn-newline" : "";
    span.className = `wn-char wn-${colour}${kind}`;
    span.style.setProperty("--wn-share", share.toFixed(3));
  }

  // Spans for the characters that have none yet; those that are gone lose theirs.
  function show() {
    const low = block.scrollHeight - block.scrollTop - block.clientHeight < 30;
    const same = read.findIndex((one, i) => one !== shown[i]);
    // what the model wrote may have been typed since
    const kept = Math.min(same < 0 ? read.length : same, given.length === mine ? Infinity : Math.min(given.length, mine));
    spans().slice(kept).forEach((span) => span.remove());
    for (const [i, one] of read.entries()) {
      if (i < kept) continue;
      const span = node("span", {}, tokens[one.index]);
      paint(span, one);
      (i < given.length ? byUser : byModel).append(span);
    }
    [shown, mine] = [[...read], given.length];
    between.textContent = written() ? " The model goes on: " : "";
    block.setAttribute("aria-busy", String(busy()));
    if (low) block.scrollTop = block.scrollHeight;
    tell();
    lookAt(looked);
  }

  // The whole text in another colour.
  function recolour() {
    const colour = model.get("colour");
    const entries = colour === "surprise"
      ? [["square", "pink", `the stronger the tint, the more bits it cost, up to ${DEAR}`]]
      : unitOf() ? [["square", "blue", "above 0, up to 1"], ["square", "colour-1", "below 0, down to −1"]] : [];
    root.querySelector(".wn-legend").replaceChildren(...legend([...USUAL, ...entries]));
    block.classList.toggle("wn-tinted", entries.length > 0);
    which.select.value = colour;
    other.root.hidden = colour !== "any";
    spans().forEach((span, i) => paint(span, shown[i]));
    tell();
    lookAt(looked);
  }

  // The character at a place in words. That at the end is followed while the text grows.
  function lookAt(place) {
    looked = place === undefined || place >= read.length - 1 ? undefined : place;
    const at = looked ?? read.length - 1;
    block.querySelector(".wn-looked-at")?.classList.remove("wn-looked-at");
    look.input.disabled = !read.length;
    look.input.max = Math.max(1, read.length);
    look.place(at + 1);
    if (!read.length) return void (readout.textContent = "No character yet: type a beginning below.");
    spans()[at].classList.add("wn-looked-at");
    const { index, bits } = read[at];
    const unit = unitOf();
    const expected = at ? ` It cost ${bits.toFixed(1)} bits; expected were ${listed(nextOf(read[at - 1].row, 1))}.` : " Nothing came before it, so nothing was expected.";
    readout.textContent = `Character ${count(at + 1)}, ${at < given.length ? "yours" : "the model's"}: ${nameOf(tokens[index])}.${expected}${unit ? ` After it, ${unit[0]} is at ${tint(read[at]).says}.` : ""}`;
  }

  // What comes next, and the whole text in a sentence.
  function tell() {
    if (!read.length) return void [next, summary].forEach((each) => (each.textContent = ""));
    const temperature = model.get("temperature");
    next.textContent = `Likeliest next, at temperature ${temperature.toFixed(2)}: ${listed(nextOf(read.at(-1).row, temperature))}.${
      read.length >= LONGEST ? ` The text is full: ${count(LONGEST)} characters.` : ""}`;
    const unit = unitOf();
    if (unit) {
      const values = read.map(({ state }) => state[0][unit[1]]);
      const [low, high] = [Math.min(...values), Math.max(...values)];
      summary.textContent = `Over the whole text, ${unit[0]} goes from ${signed(low)} after ${nameOf(tokens[read[values.indexOf(low)].index])} to ${signed(high)} after ${
        nameOf(tokens[read[values.indexOf(high)].index])}; it is above 0 after ${percent(values.filter((value) => value > 0).length / values.length)} of the characters.`;
    } else {
      const mean = (steps) => (steps.reduce((sum, { bits }) => sum + bits, 0) / steps.length).toFixed(2);
      const parts = [["yours", read.slice(1, given.length)], ["the model's", read.slice(Math.max(1, given.length))]];
      const means = parts.filter(([, steps]) => steps.length).map(([whose, steps]) => `${whose} ${mean(steps)}`);
      summary.textContent = means.length ? `Bits a character, on average: ${means.join(", ")}.` : "";
    }
  }

  // ---- controls

  const field = node("textarea", {
    rows: 3, maxlength: TYPED, autocomplete: "off", autocapitalize: "none", spellcheck: "false", "aria-label": "The beginning of a text",
    oninput: () => keep("text", field.value),
  });
  const line = node("label", { class: "wn-control wn-wide" }, node("span", {}, "The beginning of a text"), field);
  const more = node("button", {
    type: "button",
    onclick: () => {
      wanted += AT_ONCE;
      work();
    },
  }, "Write on");
  const stop = node("button", {
    type: "button",
    onclick: () => {
      wanted = 0;
      work();
    },
  }, "Stop");
  const again = node("button", { type: "button", onclick: restart }, "Again");
  const which = choice("Colour the text by",
    [["", "nothing"], ["surprise", "surprise"], ...units.map(([title], i) => [`${i}`, title]), ["any", "another unit"]],
    model.get("colour"), (chosen) => keep("colour", chosen));
  const other = slider("Unit", { min: 0, max: H - 1, value: model.get("unit") }, (unit) => keep("unit", unit));
  const temperature = slider("Temperature", { min: 0.1, max: 2, step: 0.05, value: model.get("temperature"), show: (t) => t.toFixed(2) },
    (t) => keep("temperature", t));
  const seed = slider("Seed", { min: 0, max: 99, value: model.get("seed") }, (chosen) => keep("seed", chosen));
  const look = slider("Look at character", {
    min: 1, max: 1, value: 1,
    show: (place) => (read[place - 1] ? [`${count(place)}: ${nameOf(tokens[read[place - 1].index])}`, tint(read[place - 1]).says].filter(Boolean).join(", ") : "none"),
  }, (place) => {
    lookAt(place - 1);
    const { offsetTop, offsetHeight } = spans()[place - 1];
    if (offsetTop < block.scrollTop || offsetTop + offsetHeight > block.scrollTop + block.clientHeight)
      block.scrollTop = offsetTop - block.clientHeight / 2;
  });

  // What the model wrote goes; the same seed writes it again.
  function restart() {
    takeBack(given.length);
    work();
  }

  // Under the pointer, or under the finger that touches it.
  block.addEventListener("pointerover", ({ target }) => {
    const place = spans().indexOf(target);
    if (place >= 0) lookAt(place);
  });

  const unfollow = follow(model, {
    text: () => {
      if (field.value !== model.get("text")) field.value = model.get("text");
      begin();
    },
    temperature: () => {
      temperature.place(model.get("temperature"));
      tell();
    },
    seed: () => {
      seed.place(model.get("seed"));
      restart();
    },
    colour: recolour,
    unit: () => {
      other.place(model.get("unit"));
      recolour();
    },
  });
  const { root, resettle } = frame("writer", {
    title: "A model writes on, character by character",
    attempt: "press “Write on”, then colour the text by its surprise: where is the model sure, at the beginning of a word or at its end? Press “Again”, choose another temperature, and write on.",
    legend: USUAL,
    answer: [block, readout, next, summary, problem],
    controls: [line, node("div", { class: "wn-buttons" }, more, stop, again), look.root, temperature.root, which.root, other.root, seed.root],
    more: [heard],
  });
  // For the console and the tests.
  root.wavenet = {
    read(indices) {
      const steps = [];
      for (const index of indices) steps.push(step(stage, index, steps.at(-1)));
      return { logits: steps.map(({ row }) => [...row]), activations: steps.map(({ state }) => [...state[0]]), bits: steps.map(({ bits }) => bits ?? 0) };
    },
    shown: () => ({
      text: textOf(read), written: written(), indices: read.map(({ index }) => index), activations: read.map(({ state }) => [...state[0]]),
    }),
    probabilities: (row, temperature) => [...nextOf(row, temperature)],
  };
  el.append(node("style", {}, STYLE), root);
  field.value = model.get("text");
  begin();
  recolour();
  return () => {
    cancelAnimationFrame(frameAsked);
    unfollow();
  };
}

export default { render };
