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
// book/_ext/definitions.py). It stays while the pointer is on it; Escape closes it.
document.addEventListener("DOMContentLoaded", () => {
  if (!window.tippy) return;
  window.tippy("[data-definition]", {
    content: (term) => term.dataset.definition,
    appendTo: () => document.body,
    aria: { content: "describedby", expanded: false },
    duration: matchMedia("(prefers-reduced-motion: reduce)").matches ? 0 : [150, 100],
    interactive: true,
    maxWidth: 360,
  });
});
document.addEventListener("keydown", (event) => {
  if (event.key === "Escape" && window.tippy) window.tippy.hideAll();
});

// Search shows a passage of every page that it finds, which it fetches; a browser forbids
// that on file://. There it shows the titles alone.
if (location.protocol === "file:") DOCUMENTATION_OPTIONS.SHOW_SEARCH_SUMMARY = false;
