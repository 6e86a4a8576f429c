// What the pages do by themselves. Everything else is HTML and CSS.

// A quiz marks an answer when it is chosen: a sign beside it, the reason in the live region.
document.addEventListener("change", (event) => {
  const answer = event.target.closest(".quiz-answer");
  if (!answer) return;
  const question = answer.closest(".quiz-question");
  for (const other of question.querySelectorAll(".quiz-answer")) {
    other.classList.toggle("right", other === answer && answer.dataset.mark === "right");
    other.classList.toggle("wrong", other === answer && answer.dataset.mark === "wrong");
  }
  const reason = answer.querySelector("template").content.cloneNode(true);
  const feedback = question.querySelector(".quiz-feedback");
  feedback.classList.toggle("right", answer.dataset.mark === "right");
  feedback.classList.toggle("wrong", answer.dataset.mark === "wrong");
  feedback.replaceChildren(reason);
});

// A term shows its definition on hover and on focus (the link carries it; see
// book/_ext/definitions.py). It stays while the pointer is on it; Escape closes it. On a
// touch screen nothing hovers: a tap shows it in the place of leading away, a tap elsewhere
// closes it, and the glossary is one more tap.
function definition(term) {
  const shown = document.createElement("div");
  const text = document.createElement("p");
  text.textContent = term.dataset.definition;
  const way = document.createElement("a");
  way.href = term.href;
  way.textContent = "In the glossary";
  shown.append(text, way);
  return shown;
}
let touched = false;
document.addEventListener("pointerdown", (event) => (touched = event.pointerType === "touch"), true);
document.addEventListener("keydown", () => (touched = false), true);
document.addEventListener("DOMContentLoaded", () => {
  if (!window.tippy) return;
  window.tippy("[data-definition]", {
    content: definition,
    appendTo: () => document.body,
    aria: { content: "describedby", expanded: false },
    duration: matchMedia("(prefers-reduced-motion: reduce)").matches ? 0 : [150, 100],
    interactive: true,
    maxWidth: 360,
  });
});
document.addEventListener("click", (event) => {
  const term = touched && event.target.closest("[data-definition]");
  if (!term?._tippy) return;
  event.preventDefault();
  term._tippy.show();
});
document.addEventListener("keydown", (event) => {
  if (event.key === "Escape" && window.tippy) window.tippy.hideAll();
});

// A mark for checks opens while the pointer is on it or the focus is in it; a click keeps it
// open, with the code. Without this script it is a fold like any other.
function pass(mark, isOn) {
  if (isOn && !mark.open) {
    mark.open = true;
    mark.dataset.passing = "";
  } else if (!isOn && "passing" in mark.dataset) {
    mark.open = false;
    delete mark.dataset.passing;
  }
}
document.addEventListener("DOMContentLoaded", () => {
  for (const mark of document.querySelectorAll("details.checks")) {
    mark.addEventListener("mouseenter", () => pass(mark, true));
    mark.addEventListener("mouseleave", () => pass(mark, false));
    mark.addEventListener("focusin", (event) => pass(mark, event.target.matches(":focus-visible")));
    mark.addEventListener("focusout", (event) => mark.contains(event.relatedTarget) || pass(mark, false));
    mark.querySelector("summary").addEventListener("click", (event) => {
      if (!("passing" in mark.dataset)) return;
      event.preventDefault();
      delete mark.dataset.passing;
    });
  }
});
function closeChecks(except) {
  for (const mark of document.querySelectorAll("details.checks[open]")) {
    if (mark.contains(except)) continue;
    mark.open = false;
    delete mark.dataset.passing;
  }
}
document.addEventListener("click", (event) => closeChecks(event.target));
document.addEventListener("keydown", (event) => event.key === "Escape" && closeChecks());

document.addEventListener("click", (event) => event.target.closest("[data-print]") && window.print());

// Search shows a passage of every page that it finds, which it fetches; a browser forbids
// that on file://. There it shows the titles alone.
if (location.protocol === "file:") DOCUMENTATION_OPTIONS.SHOW_SEARCH_SUMMARY = false;
