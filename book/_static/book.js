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

// Escape closes the definition that hover or focus has opened.
document.addEventListener("keydown", (event) => {
  if (event.key === "Escape" && window.tippy) window.tippy.hideAll();
});
