// An English sentence in French, and where each step of the decoder looked.

const MOST = 24; // pieces

function render({ model, el }) {
  const parts = Object.fromEntries(readStages(model.get("stages"), model.get("weights")).map(({ name, layers }) => [name, layers]));
  const numbers = new Map(model.get("source").split("\n").map((piece, i) => [piece, i]));
  const target = model.get("target").split("\n");
  const examples = model.get("examples");
  const { root: heard, say } = voice();
  const keep = keeper(model);
  const shown = (piece) => piece.replaceAll("▁", " ").trim() || "␣";

  const field = node("textarea", {
    rows: 2, autocomplete: "off", autocapitalize: "none", spellcheck: "false", "aria-label": "A sentence in English",
    oninput: () => keep("text", field.value),
  });
  const line = node("label", { class: "wn-control wn-wide" }, node("span", {}, "A sentence in English"), field);
  const which = choice("Or one of these", [["", "your own"], ...examples.map((one) => [one, one])], "", (chosen) => {
    resettle();
    keep("text", chosen);
  });
  which.root.classList.add("wn-wide");
  const verdict = node("p", { class: "wn-title", lang: "fr" });
  const map = node("table", { class: "wn-map" });
  const scroll = node("div", { class: "wn-scroll", tabindex: 0, role: "region", "aria-label": "where each step looked" }, map);
  const note = node("p", { class: "wn-note wn-explanation" });

  function translated(text) {
    const all = cut(text, numbers);
    const read = all.slice(0, MOST);
    if (!read.length) return { read, left: 0, steps: [], french: "" };
    const steps = translate(parts, [...read.map(({ index }) => index), END], 2 * read.length + 10);
    const said = steps.filter(({ index }) => index !== END).map(({ index }) => (index === UNKNOWN ? " ⁇ " : target[index]));
    return { read, left: all.length - read.length, steps, french: said.join("").replaceAll("▁", " ").trim() };
  }

  function update() {
    const text = model.get("text");
    if (field.value !== text) field.value = text;
    which.select.value = examples.includes(text) ? text : "";
    const { read, left, steps, french } = translated(text);
    if (!read.length) {
      map.replaceChildren();
      verdict.textContent = "No word yet.";
      note.textContent = "Type a sentence below, or choose one.";
      say("No word yet.");
      return;
    }
    verdict.textContent = french || "(it ends at once)";
    const names = [...read.map(({ piece }) => shown(piece)), "end"];
    const heads = names.map((name) => node("th", { scope: "col" }, node("span", { lang: "en" }, name)));
    const look = (t) => {
      const { index, weights, share } = steps[t];
      const most = weights.indexOf(Math.max(...weights));
      heads.forEach((head, s) => head.style.setProperty("--wn-share", weights[s].toFixed(3)));
      rows.forEach((one, other) => one.classList.toggle("wn-chosen", other === t));
      const word = index === END ? "the end" : `“${shown(target[index])}”`;
      note.textContent = `${word}, ${percent(share)} sure: it looks at “${names[most]}” with ${percent(weights[most])} of its weight.`;
      say(note.textContent);
    };
    const rows = steps.map(({ index, weights }, t) =>
      node("tr", { onmouseenter: () => look(t) },
        node("th", { scope: "row" }, node("button", { type: "button", lang: "fr", onfocus: () => look(t), onclick: () => look(t) },
          index === END ? "end" : shown(target[index]))),
        ...Array.from(weights, (weight, s) => {
          const cell = node("td", { title: `${percent(weight)} of the weight on ${names[s]}` }, node("span", { class: "wn-hidden" }, percent(weight)));
          cell.style.setProperty("--wn-share", weight.toFixed(3));
          return cell;
        })));
    map.replaceChildren(
      node("caption", { class: "wn-hidden" }, "A row is a piece of the French sentence, a column a piece of the English one."),
      node("thead", {}, node("tr", {}, node("td", {}), ...heads)), node("tbody", {}, ...rows));
    const strange = read.filter(({ index }) => index === UNKNOWN).map(({ piece }) => `“${shown(piece)}”`);
    note.textContent = [
      "Point at a row, or go to it by keyboard.",
      strange.length ? `Unknown to the model: ${[...new Set(strange)].join(", ")}.` : "",
      left ? `The first ${MOST} pieces are read, ${left} left out.` : "",
    ].filter(Boolean).join(" ");
    say(`${verdict.textContent}. ${note.textContent}`);
  }

  const unfollow = follow(model, { text: update });
  const { root, resettle } = frame("translator", {
    title: "English to French, and where each step looked",
    attempt: "put an adjective in front of a noun, and see the dark squares cross. Then write a sentence that is longer than those it was trained on.",
    legend: [["square", "blue", "dark: much of a step's weight lies on this piece"], ["square", "line", "light: little of it"]],
    answer: [verdict, scroll, note],
    controls: [line, examples.length > 0 && which.root],
    more: [heard],
  });
  // For the console and the tests.
  root.wavenet = {
    cut: (text) => cut(text, numbers).map(({ index }) => index),
    translated,
    logits(source, tokens) {
      const read = readSource(parts, source);
      let states = read.states;
      return tokens.map((token) => {
        const step = nextStep(parts, read, token, states);
        states = step.states;
        return { logits: [...step.logits], weights: [...step.weights] };
      });
    },
  };
  el.append(root);
  update();
  return unfollow;
}

export default { render };
