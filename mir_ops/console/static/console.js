"use strict";

const filters = document.getElementById("filters");
const names = document.getElementById("names");

document.documentElement.classList.add("js");

if (filters) {
  // On a narrow screen the images come first.
  if (window.matchMedia("(max-width: 860px)").matches) {
    filters.querySelector("details").open = false;
  }
  filters.addEventListener("change", (event) => {
    if (event.target.name) filters.requestSubmit();
  });
}

if (names) {
  names.addEventListener("change", () => {
    document.documentElement.classList.toggle("nameless", !names.checked);
  });
}

document.addEventListener("keydown", (event) => {
  if (event.target.closest("input, select, textarea, .scroll")) return;
  if (event.altKey || event.ctrlKey || event.metaKey || event.shiftKey) return;
  const rel = { ArrowLeft: "prev", ArrowRight: "next" }[event.key];
  const link = rel && document.querySelector(`a[rel="${rel}"]`);
  if (link) link.click();
});
