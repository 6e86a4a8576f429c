// What all widgets share: elements, sliders, bars, a voice for screen readers.
// Text goes in through text nodes only. Nothing that a reader types becomes HTML.

function fill(element, attributes, children) {
  for (const [name, value] of Object.entries(attributes)) {
    if (name.startsWith("on")) element.addEventListener(name.slice(2), value);
    else if (value === true) element.setAttribute(name, "");
    else if (value !== false && value !== undefined) element.setAttribute(name, value);
  }
  element.append(...children.filter((child) => child !== undefined));
  return element;
}

const node = (tag, attributes = {}, ...children) => fill(document.createElement(tag), attributes, children);

const svg = (tag, attributes = {}, ...children) =>
  fill(document.createElementNS("http://www.w3.org/2000/svg", tag), attributes, children);

const percent = (share) =>
  share >= 0.0995 ? `${Math.round(100 * share)}%` : share >= 0.0005 ? `${(100 * share).toFixed(1)}%` : "0%";

const count = (number) => number.toLocaleString("en-US");

// Sets a trait, and tells the kernel where there is one.
const keeper = (model) => (name, value) => {
  model.set(name, value);
  model.save_changes();
};

// Calls a function at every change of its trait, { trait: function }; returns what ends it.
function follow(model, followers) {
  for (const [name, changed] of Object.entries(followers)) model.on(`change:${name}`, changed);
  return () => Object.keys(followers).forEach((name) => model.off(`change:${name}`, followers[name]));
}

// The frame of every widget: what it shows, one thing to try, what its colours mean; then the answer,
// and the controls below it, so that a phone shows both while a control is moved.
// `legend`: [shape, colour, words], as the style sheet has them: wn-square, wn-stroke, wn-ring, wn-dotted,
// in wn-red and the like. The answer keeps the height of its tallest, or the control would run away from
// the finger that moves it; `resettle` lets it shrink, where what it shows is chosen anew.
function frame(kind, { title, attempt, legend, answer, controls, more = [] }) {
  const shown = node("div", { class: "wn-answer" }, ...answer);
  const root = node("div", { class: `wn wn-${kind}`, role: "group", "aria-label": title },
    node("p", { class: "wn-heading" }, title),
    node("p", { class: "wn-try" }, node("strong", {}, "Try: "), attempt),
    node("ul", { class: "wn-legend" }, ...legend.map(([shape, colour, words]) => node("li", { class: `wn-${shape} wn-${colour}` }, words))),
    shown,
    node("div", { class: "wn-controls" }, ...controls.filter(Boolean)),
    ...more);
  let wide = 0, tall = 0;
  const resettle = () => {
    tall = 0;
    shown.style.minHeight = "";
  };
  new ResizeObserver(() => {
    if (shown.offsetWidth !== wide) resettle();
    wide = shown.offsetWidth;
    if (shown.offsetHeight > tall) shown.style.minHeight = `${(tall = shown.offsetHeight)}px`;
  }).observe(shown);
  return { root, resettle };
}

// A labelled line of text that wants no help with its spelling.
function textField(text, value, changed, maxlength = 30) {
  const input = node("input", {
    type: "text", value, maxlength, autocomplete: "off", autocapitalize: "none", spellcheck: "false",
    oninput: () => changed(input.value),
  });
  return { root: node("label", { class: "wn-control" }, node("span", {}, text), input), input };
}

// What a reader typed that a model does not know, all of it, and what is read in its place.
function leftOut(strange, read) {
  const names = [...new Set(strange)].map((c) => (c.trim() ? `“${c}”` : "the space"));
  if (!names.length) return "";
  const listed = names.length > 5 ? [...names.slice(0, 4), `${names.length - 4} more`] : names;
  const list = listed.length > 1 ? `${listed.slice(0, -1).join(", ")} and ${listed.at(-1)}` : listed[0];
  return `${list} ${listed.length > 1 ? "are" : "is"} left out: ${read ? `“${read}” is read` : "nothing is read"}.`;
}

// A labelled slider; `show` turns its position into words, `changed` hears of every move.
function slider(text, { min, max, step = 1, value, show = String }, changed) {
  const output = node("span", { class: "wn-value" }, show(value));
  const input = node("input", {
    type: "range", min, max, step, value, "aria-label": text, "aria-valuetext": show(value),
    oninput: () => {
      place(Number(input.value));
      changed(Number(input.value));
    },
  });
  function place(position) {
    input.value = position;
    output.textContent = show(position);
    input.setAttribute("aria-valuetext", show(position));
  }
  return { root: node("label", { class: "wn-control" }, node("span", {}, text), input, output), input, place };
}

// A labelled box to tick.
function tick(text, value, changed) {
  const input = node("input", { type: "checkbox", checked: value, onchange: () => changed(input.checked) });
  return { root: node("label", { class: "wn-control wn-tickbox" }, input, node("span", {}, text)), input };
}

// A labelled choice among [value, text] pairs.
function choice(text, options, value, changed) {
  const select = node("select", { "aria-label": text, onchange: () => changed(select.value) });
  for (const [key, title] of options) select.append(node("option", { value: key, selected: key === value }, title));
  const long = options.some(([, title]) => title.length > 20); // a select shows no second line
  return { root: node("label", { class: `wn-control${long ? " wn-long" : ""}` }, node("span", {}, text), select), select };
}

// Radio buttons in a group with a name; `options` are [value, text] pairs.
function radios(text, options, value, changed) {
  const group = `wn-${Math.random().toString(36).slice(2)}`;
  const root = node("fieldset", { class: "wn-radios" }, node("legend", {}, text));
  for (const [key, title] of options) {
    const input = node("input", { type: "radio", name: group, value: key, checked: key === value, onchange: () => changed(key) });
    root.append(node("label", {}, input, node("span", {}, title)));
  }
  return root;
}

// A region that is read aloud: the last of several quick messages, once things are quiet.
function voice() {
  const root = node("p", { class: "wn-hidden", role: "status", "aria-live": "polite" });
  let waiting;
  return {
    root,
    say(text) {
      clearTimeout(waiting);
      waiting = setTimeout(() => (root.textContent = text), 400);
    },
  };
}

// Call `draw(width)` now, and again whenever the element's width changes.
function onWidth(element, draw) {
  let last = 0;
  const watch = new ResizeObserver(() => {
    const width = Math.floor(element.clientWidth);
    if (width && width !== last) draw((last = width));
  });
  watch.observe(element);
  return () => watch.disconnect();
}

// A bar a character. Each bar is a button; arrow keys move along, one stop for the Tab key.
function characterBars(characters, label, picked) {
  const buttons = [...characters].map((character, i) =>
    node("button", { type: "button", class: "wn-bar", tabindex: i ? -1 : 0, onclick: () => picked(i) },
      node("span", { class: "wn-track" }, node("span", { class: "wn-fill" }), node("span", { class: "wn-ghost" })),
      node("span", { class: "wn-letter" }, character)));
  const root = node("div", { class: "wn-bars", role: "group", "aria-label": label }, ...buttons);
  root.style.setProperty("--wn-columns", buttons.length);
  root.addEventListener("keydown", (event) => {
    const here = buttons.indexOf(document.activeElement);
    const there = { ArrowRight: here + 1, ArrowLeft: here - 1, Home: 0, End: buttons.length - 1 }[event.key];
    if (here < 0 || there === undefined) return;
    event.preventDefault();
    const next = buttons[Math.min(Math.max(there, 0), buttons.length - 1)];
    for (const button of buttons) button.tabIndex = button === next ? 0 : -1;
    next.focus();
  });
  return {
    root,
    // A full bar is 100%, always: bars of two charts, and of two settings, can be compared. The highest
    // say how high they are. `before`: what the probabilities were before some were cut off, in grey.
    show(probabilities, { chosen = -1, before } = {}) {
      const labelled = [];
      for (const i of likeliest(probabilities)) if (labelled.every((other) => Math.abs(other - i) > 2)) labelled.push(i);
      buttons.forEach((button, i) => {
        const name = characters[i] === "." ? "end of the name" : characters[i];
        button.firstChild.firstChild.style.height = `${100 * probabilities[i]}%`;
        const cut = before && !probabilities[i];
        button.firstChild.lastChild.style.height = cut ? `${100 * before[i]}%` : 0;
        const says = percent(probabilities[i]) + (cut ? `, cut off, was ${percent(before[i])}` : "");
        button.firstChild.dataset.percent = labelled.includes(i) ? percent(probabilities[i]) : "";
        button.firstChild.style.setProperty("--wn-high", `${100 * probabilities[i]}%`);
        button.setAttribute("aria-label", `${characters[i]}, ${name === characters[i] ? "" : `${name}, `}${says}`);
        button.title = `${name}: ${says}`;
        button.classList.toggle("wn-out", probabilities[i] === 0);
        if (chosen >= 0) button.setAttribute("aria-pressed", String(i === chosen));
      });
    },
  };
}

// The best few of a distribution, and the same in words.
const likeliest = (probabilities, few = 3) =>
  [...probabilities.keys()].sort((a, b) => probabilities[b] - probabilities[a]).slice(0, few).filter((i) => probabilities[i] > 0);

function favourites(characters, probabilities) {
  return likeliest(probabilities).map((i) => `${characters[i] === "." ? "the end" : characters[i]} ${percent(probabilities[i])}`).join(", ");
}
