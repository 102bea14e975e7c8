"use strict";

// An uploaded archive becomes the path of the import below it.
document.getElementById("upload")?.addEventListener("sent", (event) => {
  event.preventDefault();
  const told = document.getElementById("uploaded");
  told.textContent = told.dataset.text;
  told.hidden = false;
  document.getElementById("import").elements.path.value = event.detail.path;
  document.getElementById("import").elements.to.focus();
});

document.getElementById("import")?.addEventListener("sent", (event) => {
  event.preventDefault();
  const started = document.getElementById("started");
  started.querySelector("a").href = event.detail.address;
  started.hidden = false;
});
