// A typed name, and what each head of a Transformer reads at each of its letters.
//
// A row is a letter that reads, a column one that is read; the dot in front is the first of both. The last
// row says what the model would put behind the name.

const MOST = 14; // letters that fit a phone

function render({ model, el }) {
  const [stage] = readStages(model.get("stages"), model.get("weights"));
  const characters = model.get("characters");
  const attentions = everyLayer(stage.layers).filter(({ kind }) => kind === "attention");
  const room = everyLayer(stage.layers).find(({ kind }) => kind === "position").weight.length / stage.layers[0].channels;
  const { root: heard, say } = voice();
  const keep = keeper(model);
  let letters = ["."], width = 0, shares = [[1]], after = [];
  const last = () => letters.length - 1;
  const here = () => (model.get("place") < 0 ? last() : Math.min(model.get("place"), last()));
  const called = (at) => (at > 0 && at < letters.length ? `${letters[at]} (letter ${at})` : "the dot in front");
  const line = textField("A name", model.get("text"), (typed) => keep("text", typed), 500); // what is pasted is not cut
  const problem = node("p", { class: "wn-problem", role: "alert" });
  const blocks = radios("Block", attentions.map((_, i) => [String(i), String(i + 1)]), String(model.get("block")), (i) => keep("block", Number(i)));
  const heads = radios("Head", Array.from({ length: attentions[0].heads }, (_, i) => [String(i), String(i + 1)]), String(model.get("head")), (i) => keep("head", Number(i)));
  const place = slider("The letter that reads", { min: 0, max: MOST, value: MOST, show: (at) => called(at) }, (at) => keep("place", at));
  const drawing = node("div", { class: "wn-drawing" });
  const verdict = node("p", { class: "wn-title" });
  const note = node("p", { class: "wn-note wn-explanation" });

  // What a head of a block reads at each letter, and the probabilities of what comes behind the name.
  function reading(text, block, head) {
    const typed = [...text.normalize("NFC").toLowerCase()];
    const known = typed.map((c) => characters.indexOf(c)).filter((i) => i > 0).slice(0, Math.min(MOST, room - 1));
    const memory = new Map();
    const context = Int32Array.from([0, ...known]);
    const { data, shape } = forward(stage, context, context.length, memory).at(-1);
    const T = context.length;
    const weights = memory.get(attentions[block]);
    const row = (t) => [...weights.subarray((head * T + t) * T, (head * T + t + 1) * T)];
    return {
      letters: [...context].map((i) => characters[i]),
      strange: typed.filter((c) => characters.indexOf(c) < 1),
      cut: typed.length > known.length,
      shares: Array.from({ length: T }, (_, t) => row(t)),
      next: softmax(data.subarray(data.length - shape.at(-1))),
      logits: [...data],
    };
  }

  function draw() {
    if (!width) return;
    const T = letters.length;
    const side = Math.min(30, (width - 26) / T);
    const x = (s) => 26 + (s + 0.5) * side;
    const y = (t) => 24 + (t + 0.5) * side;
    const parts = [];
    letters.forEach((letter, i) => {
      parts.push(svg("text", { x: x(i), y: 15, class: "wn-leaf" }, letter));
      parts.push(svg("text", { x: 12, y: y(i) + 5, class: i === here() ? "wn-leaf wn-chosen" : "wn-leaf" }, letter));
      for (let s = 0; s <= i; s++) {
        const title = `${called(i)} reads ${percent(shares[i][s])} of ${called(s)}`;
        parts.push(svg("rect", {
          x: x(s) - side / 2 + 1, y: y(i) - side / 2 + 1, width: side - 2, height: side - 2, rx: 2,
          class: "wn-head-cell", "fill-opacity": (0.04 + 0.96 * shares[i][s]).toFixed(3), onclick: () => keep("place", i),
        }, svg("title", {}, title)));
      }
    });
    parts.push(svg("rect", { x: 27, y: y(here()) - side / 2, width: side * (here() + 1) - 2, height: side, rx: 3, class: "wn-head-row" }));
    drawing.replaceChildren(svg("svg", {
      viewBox: `0 0 ${width} ${24 + T * side + 4}`, width, height: 24 + T * side + 4, role: "img",
      "aria-label": `a triangle of squares: row ${here() + 1}, ${called(here())}, reads ${most()}`,
    }, ...parts));
  }

  const most = () => likeliest(shares[here()]).map((s) => `${s === here() ? "itself" : called(s)} ${percent(shares[here()][s])}`).join(", ");

  function update() {
    const found = reading(line.input.value, model.get("block"), model.get("head"));
    ({ letters, shares, next: after } = found);
    const complaint = [
      found.strange.length && `${leftOut(found.strange, letters.slice(1).join(""))} The model knows ${characters[1]} to ${characters.at(-1)}.`,
      !found.strange.length && found.cut && `The first ${last()} letters are read.`,
    ].filter(Boolean).join(" ");
    if (problem.textContent !== complaint) problem.textContent = complaint;
    place.input.max = last();
    place.place(here());
    verdict.textContent = `${called(here())} reads: ${most()}`;
    note.textContent = `Block ${model.get("block") + 1}, head ${model.get("head") + 1}. Behind “${letters.slice(1).join("")}” the model expects ${favourites(characters, after)}.`;
    draw();
    say(`${verdict.textContent}. ${note.textContent}`);
  }

  const { root, resettle } = frame("heads", {
    title: "What a head reads of a name",
    attempt: "type your own name, go through the heads, and look for one that always reads the letter before.",
    legend: [["square", "blue", "full: most of what this row reads comes from this column"], ["box", "ink", "the row that the words below are about"]],
    answer: [drawing, verdict, note],
    controls: [line.root, problem, blocks, heads, place.root],
    more: [heard],
  });
  const unfollow = follow(model, {
    text: () => {
      if (line.input.value !== model.get("text")) line.input.value = model.get("text");
      model.set("place", -1);
      resettle();
      update();
    },
    block: update, head: update, place: update,
  });
  const unwatch = onWidth(drawing, (wide) => {
    width = wide;
    draw();
  });
  root.wavenet = { reading }; // for the console and the tests
  el.append(root);
  update();
  return () => {
    unfollow();
    unwatch();
  };
}

export default { render };
