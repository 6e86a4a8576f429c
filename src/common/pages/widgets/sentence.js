// A sentence read word by word: after each, what the model would say had the sentence ended there.

const MOST = 60; // words

function render({ model, el }) {
  const [stage] = readStages(model.get("stages"), model.get("weights"));
  const numbers = new Map(model.get("words").split("\n").map((word, i) => [word, i]));
  const [other, label] = model.get("labels"); // of the second the probability is shown
  const examples = model.get("examples");
  const anew = everyLayer(stage.layers).some(({ backward }) => backward);
  const known = new Map(); // beginnings that were read
  const { root: heard, say } = voice();
  let playing;
  const keep = keeper(model);

  const field = node("textarea", {
    rows: 3, autocomplete: "off", autocapitalize: "none", spellcheck: "false", "aria-label": "A sentence",
    oninput: () => keep("text", field.value),
  });
  const line = node("label", { class: "wn-control wn-wide" }, node("span", {}, "A sentence"), field);
  const which = choice("Or one of these", [["", "your own"], ...examples.map((one) => [one, one])], "", (chosen) => {
    resettle();
    keep("text", chosen);
  });
  which.root.classList.add("wn-wide");
  const play = node("button", { type: "button", onclick: playThrough }, "Read it word by word");
  const verdict = node("p", { class: "wn-title" });
  const list = node("ol", { class: "wn-sentence", "aria-label": `the words, and the probability of ${label} after each` });
  const note = node("p", { class: "wn-note wn-explanation" });

  const points = (move) => (Math.round(100 * move) > 0 ? "+" : "") + String(Math.round(100 * move)).replace("-", "−");
  const moved = (move) => (Math.round(100 * move) === 0 ? "no change" : `${move > 0 ? "up" : "down"} ${Math.abs(Math.round(100 * move))} points`);

  // The words, whether the model knows each, and the probability of the label after each.
  function reading(text) {
    const all = tokenize(text);
    const words = all.slice(0, MOST);
    const indices = words.map((word) => numbers.get(word) ?? model.get("unknown"));
    if (known.size > 2000) known.clear();
    const shares = words.length ? afterEach(stage, indices, known).map((row) => softmax(row, model.get("temperature"))[1]) : [];
    return { words, shares, strange: words.map((word) => !numbers.has(word)), left: all.length - words.length };
  }

  // A word under its column: from the line at 50% to the probability after this word.
  function wordAt(word, share, move, strange) {
    const up = share >= 0.5;
    const part = node("span", { class: "wn-part" });
    part.style[up ? "bottom" : "top"] = "50%";
    part.style.height = `${100 * Math.abs(share - 0.5)}%`;
    const token = node("span", { class: "wn-token" }, word, strange ? node("sup", { "aria-hidden": "true" }, "?") : undefined);
    token.style.setProperty("--wn-share", Math.min(1, 2 * Math.abs(move)).toFixed(3));
    const kind = `wn-word ${up ? "wn-over" : "wn-under-half"} ${move > 0 ? "wn-toward" : "wn-away"}${strange ? " wn-strange" : ""}`;
    return node("li", { class: kind },
      node("span", { class: "wn-column", "aria-hidden": "true" }, part, node("span", {}, percent(share))),
      token,
      node("span", { class: "wn-move", "aria-hidden": "true" }, points(move)),
      node("span", { class: "wn-hidden" }, `: ${percent(share)}, ${moved(move)}${strange ? ", unknown to the model" : ""}`));
  }

  function update() {
    clearInterval(playing);
    const text = model.get("text");
    if (field.value !== text) field.value = text;
    which.select.value = examples.includes(text) ? text : "";
    const { words, shares, strange, left } = reading(text);
    play.disabled = words.length < 2;
    if (!words.length) {
      list.replaceChildren();
      verdict.textContent = "No word yet.";
      note.textContent = "Type a sentence below, or choose one.";
      say("No word yet.");
      return;
    }
    const moves = shares.map((share, i) => share - (i ? shares[i - 1] : 0.5));
    list.replaceChildren(...words.map((word, i) => wordAt(word, shares[i], moves[i], strange[i])));
    verdict.textContent = `${label}: ${percent(shares.at(-1))} after ${words.length > 1 ? `${words.length} words and signs` : "one word"}`;
    const most = [...moves.keys()].sort((a, b) => Math.abs(moves[b]) - Math.abs(moves[a])).slice(0, 2);
    const odd = [...new Set(words.filter((_, i) => strange[i]))];
    const listed = odd.slice(0, 4).map((word) => `“${word}”`).join(", ") + (odd.length > 4 ? ` and ${odd.length - 4} more` : "");
    note.textContent = [
      `What moved it most: ${most.map((i) => `“${words[i]}”, ${moved(moves[i])}`).join("; ")}. The first word counts from 50%.`,
      anew ? "The model reads from both ends, so each beginning is read anew, as if the sentence ended there." : "The state is carried from word to word.",
      odd.length ? `Unknown to the model, and one and the same to it: ${listed}.` : "",
      left ? `The first ${MOST} words are read, ${left} ${left > 1 ? "are" : "is"} left out.` : "",
    ].filter(Boolean).join(" ");
    say(`${verdict.textContent}. ${note.textContent}`);
  }

  function playThrough() {
    update();
    let shown = 0;
    const show = () => [...list.children].forEach((word, i) => word.classList.toggle("wn-off", i >= shown));
    show();
    playing = setInterval(() => {
      shown++;
      show();
      if (shown >= list.children.length) clearInterval(playing);
    }, 450);
  }

  const unfollow = follow(model, { text: update });
  const { root, resettle } = frame("reader", {
    title: `The probability of “${label}”, word by word`,
    attempt: "type “not” in front of a word of praise, then finish the sentence in another way. A column reaches from the line at 50% to the probability after its word; the number below is how far the word moved it.",
    legend: [["square", "blue", `+ and above the line: toward ${label}`], ["square", "red", `− and below it: toward ${other}`],
      ["dotted", "ink", "dotted, with a ?: a word that the model does not know"]],
    answer: [verdict, list, note],
    controls: [line, examples.length > 0 && which.root, node("div", { class: "wn-buttons" }, play)],
    more: [heard],
  });
  // For the console and the tests.
  root.wavenet = {
    tokens: tokenize,
    reading,
    logits: (indices) => [...logits(stage, Int32Array.from(indices)).data],
  };
  el.append(root);
  update();
  return () => {
    clearInterval(playing);
    unfollow();
  };
}

export default { render };
