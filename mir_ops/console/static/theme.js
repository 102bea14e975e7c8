"use strict";

// Runs before anything is drawn. Airflow keeps its choice here, for pages of the same origin.
const chosen = window.localStorage.getItem("theme");
if (chosen === "dark" || chosen === "light") document.documentElement.dataset.theme = chosen;
window.addEventListener("storage", (event) => {
  if (event.key !== "theme") return;
  if (event.newValue === "dark" || event.newValue === "light") {
    document.documentElement.dataset.theme = event.newValue;
  } else {
    delete document.documentElement.dataset.theme;
  }
});
