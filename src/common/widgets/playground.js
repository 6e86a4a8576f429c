// The playground: a prefix, what the models expect next, and names that they write.

function render({ model, el }) {
  const stages = readStages(model.get("stages"), model.get("weights"));
  const byName = new Map(stages.map((stage) => [stage.name, stage]));
  const characters = model.get("characters");
  const known = new Set(model.get("names").split("\n"));
  const seed = model.get("seed");
  const draw = seed ? random(seed) : Math.random;
  const { root: heard, say } = voice();
  const keep = keeper(model);

  const problem = node("p", { class: "wn-problem", role: "alert" });
  const prefixField = textField("A name begins with", model.get("prefix"), (typed) => keep("prefix", typed));
  const prefix = prefixField.input;
  const temperature = slider("Temperature",
    { min: 0.1, max: 2, step: 0.05, value: model.get("temperature"), show: (t) => t.toFixed(2) },
    (t) => keep("temperature", t));
  const topK = slider("Keep the likeliest (top-k)",
    { min: 1, max: characters.length, value: model.get("top_k") || characters.length, show: (k) => (k === characters.length ? `all ${k}` : `${k}`) },
    (k) => keep("top_k", k));

  const titles = stages.map((stage) => [stage.name, stage.title]);
  const chosen = ["left", "right"].map((side, i) => choice(i ? "Beside it" : "Model",
    i ? [["", "no second model"], ...titles] : titles, model.get(side), (name) => keep(side, name)));
  const panels = node("div", { class: "wn-panels" });
  let shown = [];

  // The typed prefix as indices; complains about characters that the models do not know.
  function start() {
    const typed = [...prefix.value.toLowerCase()];
    const strange = typed.find((c) => c === characters[0] || !characters.includes(c));
    const letters = `${characters[1]} to ${characters.at(-1)}`;
    const complaint = strange === undefined ? "" : `“${strange}” is left out: the models know ${characters.length - 1} characters, ${letters}.`;
    if (problem.textContent !== complaint) problem.textContent = complaint;
    prefix.setAttribute("aria-invalid", String(Boolean(complaint)));
    return typed.map((c) => characters.indexOf(c)).filter((i) => i > 0);
  }

  function panel(stage) {
    const bars = characterBars(characters, `next character, by ${stage.title}; press one to append it`, (i) => {
      if (i) keep("prefix", prefix.value + characters[i]);
    });
    const sees = node("p", { class: "wn-note" });
    const summary = node("p", { class: "wn-note" });
    const names = node("ul", { class: "wn-names", "aria-label": `names by ${stage.title}` });
    const title = node("p", { class: "wn-title" }, stage.title, node("span", {}, ` ${count(stage.parameters)} parameters`));
    return { stage, bars, sees, summary, names, root: node("section", { class: "wn-panel", "aria-label": stage.title }, title, sees, bars.root, summary, names) };
  }

  function update() {
    const begun = start();
    const settings = [model.get("temperature"), model.get("top_k") || characters.length];
    const contexts = shown.map(({ stage }) => contextOf(begun, stage.blockSize));
    const expected = shown.map(({ stage }, i) => softmax(logits(stage, contexts[i]).data, ...settings));
    const top = Math.max(...expected.map((p) => Math.max(...p))); // both charts on one scale
    const told = shown.map(({ stage, bars, sees }, i) => {
      const [context, p] = [contexts[i], expected[i]];
      bars.show(p, { top });
      const text = favourites(characters, p);
      sees.replaceChildren("sees ", node("code", {}, [...context].map((i) => characters[i]).join("")), ` and expects ${text}`);
      return `${stage.title}: ${text}`;
    });
    say(told.join("; "));
  }

  function choose() {
    const names = [model.get("left"), model.get("right")];
    chosen.forEach(({ select }, i) => (select.value = names[i]));
    shown = names.filter((name) => byName.has(name)).map((name) => panel(byName.get(name)));
    panels.replaceChildren(...shown.map(({ root }) => root));
    update();
  }

  function generate(howMany) {
    const begun = start();
    const told = shown.map(({ stage, summary, names }) => {
      const options = { temperature: model.get("temperature"), topK: model.get("top_k") || characters.length };
      const written = sample(stage, begun, howMany, draw, options).map((name) => name.map((i) => characters[i]).join(""));
      const fresh = written.filter((name) => !known.has(name));
      summary.textContent = `${fresh.length} of ${howMany} are new (●): not among the ${count(known.size)} names in the training set.`;
      names.replaceChildren(...written.map((name) => known.has(name)
        ? node("li", {}, name)
        : node("li", { class: "wn-new" }, name, node("span", { class: "wn-hidden" }, " (new)"))));
      return { stage, written, fresh };
    });
    keep("generated", told.map(({ written }) => written));
    say(told.map(({ stage, written, fresh }) => `${howMany} names by ${stage.title}, ${fresh.length} new: ${written.slice(0, 20).join(", ")}`).join(". "));
  }

  const unfollow = follow(model, {
    prefix: () => {
      if (prefix.value !== model.get("prefix")) prefix.value = model.get("prefix");
      update();
    },
    temperature: () => (temperature.place(model.get("temperature")), update()),
    top_k: () => (topK.place(model.get("top_k") || characters.length), update()),
    left: choose,
    right: choose,
  });

  const root = node("div", { class: "wn wn-playground" },
    node("div", { class: "wn-controls" },
      prefixField.root,
      temperature.root, topK.root,
      ...(stages.length > 1 ? chosen.map(({ root }) => root) : [])),
    problem,
    node("div", { class: "wn-buttons" }, ...[20, 100].map((howMany) =>
      node("button", { type: "button", onclick: () => generate(howMany) }, `Write ${howMany} names`))),
    panels,
    heard);
  // For the console, and for the test that compares with PyTorch: contexts (B, T) in one flat list.
  root.wavenet = { logits: (name, contexts) => Array.from(logits(byName.get(name), Int32Array.from(contexts)).data) };
  choose();
  el.append(root);
  return unfollow;
}

export default { render };
