// The playground: a prefix, rules, what the models expect next, and names that they write.

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
  const typable = 500; // what is pasted is not cut
  const prefixField = textField("A name begins with", model.get("prefix"), (typed) => keep("prefix", typed), typable);
  const prefix = prefixField.input;
  const temperature = slider("Temperature",
    { min: 0.1, max: 2, step: 0.05, value: model.get("temperature"), show: (t) => t.toFixed(2) },
    (t) => keep("temperature", t));
  const topK = slider("Keep the likeliest (top-k)",
    { min: 1, max: characters.length, value: model.get("top_k") || characters.length, show: (k) => (k === characters.length ? `all ${k}` : `${k}`) },
    (k) => keep("top_k", k));

  const topP = slider("Nucleus (top-p)",
    { min: 0.05, max: 1, step: 0.05, value: model.get("top_p"), show: (p) => (p >= 1 ? "all of it" : `${Math.round(100 * p)}%`) },
    (p) => keep("top_p", p));

  const long = 15; // one more than this: any length
  const fields = {
    pattern: textField("Pattern (? one letter, * any)", model.get("pattern"), (typed) => keep("pattern", typed), typable),
    alphabet: textField("Only these letters", model.get("alphabet"), (typed) => keep("alphabet", typed), typable),
  };
  const shortest = slider("Shortest", { min: 0, max: long, value: model.get("shortest"), show: (n) => (n ? `${n}` : "any") },
    (n) => keep("shortest", n));
  const longest = slider("Longest",
    { min: 1, max: long + 1, value: model.get("longest") || long + 1, show: (n) => (n > long ? "any" : `${n}`) },
    (n) => keep("longest", n > long ? 0 : n));
  const onlyNew = tick("Only new names", model.get("only_new"), (on) => keep("only_new", on));
  const constrained = ["pattern", "alphabet", "shortest", "longest", "only_new"];
  const more = node("details", { class: "wn-more", open: constrained.some((name) => Boolean(model.get(name))) },
    node("summary", {}, "Constraints"),
    node("div", { class: "wn-controls" }, fields.pattern.root, fields.alphabet.root, shortest.root, longest.root, onlyNew.root));

  const titles = stages.map((stage) => [stage.name, stage.title]);
  const chosen = ["left", "right"].map((side, i) => choice(i ? "Beside it" : "Model",
    i ? [["", "no second model"], ...titles] : titles, model.get(side), (name) => keep(side, name)));
  const panels = node("div", { class: "wn-panels" });
  const written = node("div", { class: "wn-panels" });
  const stale = node("p", { class: "wn-stale" });
  let shown = [], framed;
  let writtenWith = "", writtenBy = ""; // the settings and the models of the names that stand there

  const letters = `${characters[1]} to ${characters.at(-1)}`;
  const unknown = new Map(); // a field's input -> what is said of it where it holds what the models do not know
  function lettersOf(input, extra = "") {
    const knows = (c) => extra.includes(c) || (c !== characters[0] && characters.includes(c));
    const typed = [...input.value.normalize("NFC")].flatMap((c) => (knows(c) ? [c] : [...c.toLowerCase()]));
    const strange = typed.filter((c) => !knows(c)), read = typed.filter(knows);
    unknown.set(input, leftOut(strange, read.join("")));
    input.setAttribute("aria-invalid", String(strange.length > 0));
    return read;
  }

  let newRule; // made when first asked for: it reads the whole list
  function rules() {
    const pattern = lettersOf(fields.pattern.input, "?*").join("");
    const alphabet = lettersOf(fields.alphabet.input).join("");
    const [low, high] = [model.get("shortest"), model.get("longest") || Infinity];
    const found = [];
    if (pattern) found.push(patternRule(pattern));
    if (alphabet) found.push(alphabetRule(alphabet));
    if (low > 0 || high < Infinity) found.push(lengthRule(low, high));
    if (model.get("only_new")) found.push((newRule ??= notInRule(known)));
    return found;
  }

  // Where a name is cut, as on the command line: after 40 letters, or 40 beyond what is asked for.
  function room(begun) {
    const pattern = lettersOf(fields.pattern.input, "?*").filter((c) => c !== "*");
    const asked = Math.max(begun.length, pattern.length, model.get("shortest"), model.get("longest"));
    return asked < 40 ? 40 : asked + 40;
  }

  // The typed prefix as indices, and the machine of all rules; complains where something cannot be.
  function start() {
    const begun = lettersOf(prefix).map((c) => characters.indexOf(c));
    const prefixText = begun.map((i) => characters[i]).join("");
    const parts = rules();
    const maxLength = room(begun);
    const machine = parts.length ? machineOf(parts, [...characters], prefixText, maxLength) : undefined;
    let complaint = [...unknown.values()].filter(Boolean).join(" ");
    if (complaint) complaint += ` The models know ${letters}.`;
    if (machine && !machine.possible) {
      const named = prefixText ? `No name that begins with “${prefixText}”` : "No name";
      complaint += `${complaint && " "}${named} meets ${clashOf(parts, [...characters], prefixText, maxLength)}.`;
    }
    if (problem.textContent !== complaint) problem.textContent = complaint;
    return { begun, machine, maxLength };
  }

  // What the next character is drawn with, and what it would be drawn with if nothing were cut off.
  function distributions(row, machine) {
    const [temperature, k, share] = [model.get("temperature"), model.get("top_k") || characters.length, model.get("top_p")];
    const before = softmax(row, temperature);
    if (!machine && k >= characters.length && share >= 1) return { p: before };
    if (machine && !machine.possible) return { p: before.map(() => 0), before };
    return { p: softmax(row, temperature, k, share, machine?.allowed(machine.start)), before };
  }

  // The logits of what follows a name, from all values of a forward pass: those of the last place.
  const next = (values) => values.at(-1).data.subarray(-characters.length);

  // What a stage sees, a bar under each letter: its share in what moves the likeliest character.
  function weighed(stage, values, p) {
    const context = [...values[0].data].map((i) => characters[i]);
    const chosen = p.indexOf(Math.max(...p));
    const moves = influence(stage, values, chosen);
    const sum = moves.reduce((a, b) => a + b);
    const place = moves.indexOf(Math.max(...moves));
    const letters = context.map((letter, t) => {
      const one = node("span", { class: "wn-weighed" }, letter);
      one.style.setProperty("--wn-share", (moves[t] / sum || 0).toFixed(3));
      return one;
    });
    const most = `. The first of these depends most on “${context[place]}”, place ${place + 1} of ${context.length}.`;
    return { letters: node("code", {}, ...letters), most: context.length > 1 ? most : "" };
  }

  function panel(stage) {
    const bars = characterBars(characters, `next character, by ${stage.title}; press one to append it`, (i) => {
      if (i) keep("prefix", prefix.value + characters[i]);
    });
    const sees = node("p", { class: "wn-note" });
    const cut = node("p", { class: "wn-note wn-cut" });
    const title = node("p", { class: "wn-title" }, stage.title, node("span", {}, ` ${count(stage.parameters)} parameters`));
    const root = node("section", { class: "wn-panel", "aria-label": stage.title }, title, sees, bars.root, cut);
    const summary = node("p", { class: "wn-note" });
    const names = node("ul", { class: "wn-names", "aria-label": `names by ${stage.title}` });
    const written = node("section", { class: "wn-written", "aria-label": `names by ${stage.title}`, hidden: true },
      node("p", { class: "wn-title" }, stage.title), summary, names);
    return { stage, bars, sees, cut, summary, names, root, written };
  }

  // What names are written with, in words: all that is not left at its default.
  function settings() {
    const get = (name) => model.get(name);
    return [
      `temperature ${get("temperature").toFixed(2)}`,
      get("prefix") && `beginning with “${get("prefix")}”`,
      get("top_k") && get("top_k") < characters.length && `top-k ${get("top_k")}`,
      get("top_p") < 1 && `top-p ${Math.round(100 * get("top_p"))}%`,
      get("pattern") && `pattern “${get("pattern")}”`,
      get("alphabet") && `only the letters “${get("alphabet")}”`,
      get("shortest") && `shortest ${get("shortest")}`,
      get("longest") && `longest ${get("longest")}`,
      get("only_new") && "only new names",
    ].filter(Boolean).join(", ");
  }

  const writers = () => shown.map(({ stage }) => `“${stage.title}”`).join(" and ");

  // Names that were written with other settings or by other models than those of now are not theirs, and say so.
  function markOld() {
    const others = writtenBy !== writers();
    const old = Boolean(writtenWith) && (others || writtenWith !== settings());
    stale.textContent = old ? `These names are old. They were written ${others ? `by ${writtenBy} ` : ""}with: ${writtenWith}. Press a button to write new ones.` : "";
    written.classList.toggle("wn-old", old);
    return old;
  }

  function update() {
    const { begun, machine } = start();
    const values = shown.map(({ stage }) => forward(stage, contextFor(stage, begun)));
    const expected = values.map((all) => distributions(next(all), machine));
    const told = shown.map(({ stage, bars, sees, cut }, i) => {
      const { p, before = p } = expected[i]; // what the model expects, whatever the settings leave of it
      bars.show(p, { before });
      const text = favourites(characters, before);
      const { letters, most } = weighed(stage, values[i], before);
      sees.replaceChildren("sees ", letters, ` and expects ${text}${most}`);
      const gone = before.reduce((sum, share, i) => sum + (p[i] ? 0 : share), 0);
      const share = gone < 1 && percent(gone) === "100%" ? `${(100 * gone).toFixed(2)}%` : percent(gone);
      cut.textContent = before === p ? "" : `Cut off: ${share}. Kept: ${favourites(characters, p) || "nothing"}.`;
      return `${stage.title}: ${text}. ${cut.textContent}`;
    });
    if (markOld()) told.push("the names below were written with other settings");
    say(told.join("; "));
  }

  function choose() {
    const names = [model.get("left"), model.get("right")];
    chosen.forEach(({ select }, i) => (select.value = names[i]));
    shown = names.filter((name) => byName.has(name)).map((name) => panel(byName.get(name)));
    panels.replaceChildren(...shown.map(({ root }) => root));
    panels.classList.toggle("wn-two", shown.length > 1);
    framed?.resettle();
    update();
  }

  function generate(howMany) {
    const { begun, machine, maxLength } = start();
    [writtenWith, writtenBy] = [settings(), writers()];
    markOld();
    written.replaceChildren(...shown.map((panel) => panel.written));
    for (const panel of shown) panel.written.hidden = false;
    if (machine && !machine.possible) {
      for (const { summary, names } of shown) {
        summary.textContent = "No name was written: none can meet the constraints.";
        names.replaceChildren();
      }
      keep("generated", []);
      say(problem.textContent);
      return;
    }
    const options = {
      temperature: model.get("temperature"), topK: model.get("top_k") || characters.length, topP: model.get("top_p"), machine, maxLength,
    };
    const told = shown.map(({ stage, summary, names }) => {
      const drawn = sample(stage, begun, howMany, draw, options);
      const texts = drawn.map((name) => name.map((i) => characters[i]).join(""));
      const cut = machine ? 0 : drawn.filter((name) => name.length === maxLength).length;
      const fresh = texts.filter((name) => !known.has(name));
      const times = new Map(); // a name is listed once
      for (const name of texts) times.set(name, (times.get(name) ?? 0) + 1);
      const different = times.size < howMany ? ` ${times.size} different ${times.size > 1 ? "names" : "name"}.` : "";
      summary.textContent = `${fresh.length} of ${howMany} are new (●): not among the ${count(known.size)} names in the training set.${different}`
        + (cut ? ` ${cut} had not ended after ${maxLength} letters and ${cut > 1 ? "are" : "is"} cut there.` : "");
      names.replaceChildren(...[...times].map(([name, many]) => node("li", { class: known.has(name) ? undefined : "wn-new" }, name,
        many > 1 ? node("span", { class: "wn-times" }, ` × ${many}`) : undefined,
        known.has(name) ? undefined : node("span", { class: "wn-hidden" }, " (new)"))));
      return { stage, texts, fresh, times };
    });
    keep("generated", told.map(({ texts }) => texts));
    say(told.map(({ stage, fresh, times }) => `${howMany} names by ${stage.title}, ${fresh.length} new: ${[...times.keys()].slice(0, 20).join(", ")}`).join(". "));
  }

  function retype(name) {
    if (fields[name].input.value !== model.get(name)) fields[name].input.value = model.get(name);
    update();
  }

  const unfollow = follow(model, {
    prefix: () => {
      if (prefix.value !== model.get("prefix")) prefix.value = model.get("prefix");
      update();
    },
    temperature: () => (temperature.place(model.get("temperature")), update()),
    top_k: () => (topK.place(model.get("top_k") || characters.length), update()),
    top_p: () => (topP.place(model.get("top_p")), update()),
    pattern: () => retype("pattern"),
    alphabet: () => retype("alphabet"),
    shortest: () => (shortest.place(model.get("shortest")), update()),
    longest: () => (longest.place(model.get("longest") || long + 1), update()),
    only_new: () => ((onlyNew.input.checked = model.get("only_new")), update()),
    left: choose,
    right: choose,
  });

  // One thing to try, from what stands there at first.
  function attempt() {
    const [first, second] = ["left", "right"].map((side) => byName.get(model.get(side)));
    const typed = model.get("prefix"), pattern = model.get("pattern");
    if (pattern && typed) return `press a bar to add its letter to “${typed}”, and so on to the end. Grey bars are letters that the pattern “${pattern}” forbids there.`;
    const seen = first.blockSize;
    if (!typed) return "type “emm”, and watch the bars change with every letter.";
    if (seen && seen < typed.length && second && (second.blockSize ?? Infinity) > typed.length)
      return `put a z before “${typed}”. The bars of the first model stay as they are, for it sees ${seen} letters; those of the second move.`;
    if (seen && seen <= typed.length) return `put a z before “${typed}”. Nothing moves: the model sees the last ${seen} letters and no more.`;
    return `press the tallest bar to add its letter to “${typed}”, again and again, until the dot is the tallest: the name has ended.`;
  }

  framed = frame("playground", {
    title: "What comes next? A trained model guesses the next letter of a name",
    attempt: attempt(),
    legend: [["square", "blue", "chance of each letter to come next; a full bar is 100%; the dot ends the name"],
      ["square", "green", "under what a model sees: how much each letter counts; a full bar is half of all"]],
    answer: [panels, problem],
    controls: [prefixField.root, temperature.root, topK.root, topP.root,
      ...(stages.length > 1 ? chosen.map(({ root }) => root) : [])],
    more: [more,
      node("div", { class: "wn-buttons" }, ...[20, 100].map((howMany) =>
        node("button", { type: "button", onclick: () => generate(howMany) }, `Write ${howMany} names`))),
      stale, written, heard],
  });
  const { root } = framed;
  // For the console, and for the test that compares with PyTorch: contexts (B, T) in one flat list. A stage
  // of whole names takes one of them, dot in front, or several where T is given.
  root.wavenet = {
    logits: (name, contexts, T) => Array.from(logits(byName.get(name), Int32Array.from(contexts), T).data),
    // What is shown for the rules as they stand, and what may follow: null where no name is possible.
    probabilities: (name) => {
      const { begun, machine } = start();
      const stage = byName.get(name);
      return Array.from(distributions(next(forward(stage, contextFor(stage, begun))), machine).p);
    },
    allowed: () => {
      const { machine } = start();
      return machine?.possible ? [...machine.allowed(machine.start).keys()] : null;
    },
  };
  choose();
  el.append(root);
  return unfollow;
}

export default { render };
