"use strict";

const filters = document.getElementById("filters");
const names = document.getElementById("names");

const root = document.documentElement.dataset.root;

document.documentElement.classList.add("js");

if (filters) {
  // On a narrow screen the images come first.
  if (window.matchMedia("(max-width: 860px)").matches) {
    for (const part of filters.querySelectorAll("details")) part.open = false;
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

for (const button of document.querySelectorAll("[data-language]")) {
  button.addEventListener("click", () => {
    const path = new URL(root, document.baseURI).pathname;
    const year = 365 * 24 * 3600;
    document.cookie = `mir_language=${button.dataset.language}; path=${path}; max-age=${year}; SameSite=Lax`;
    window.location.reload();
  });
}

// A form with data-send="METHOD address" sends its fields to the API as JSON: `a.b` nests, a
// number field is a number, a lone checkbox true or false, several fields of one name a list,
// data-lines a list of its lines, data-pairs a mapping of its lines `key: value`,
// data-json what its text says. An empty field is left out, or null with data-null. A form with
// a file sends the file as it is, and its other fields in the query.
// Then: a `sent` event with the answer; else data-next, `{key}` in it from the answer; else reload.
// A form's attributes are read by their names: a field called `dataset` hides `form.dataset`.
document.addEventListener("submit", async (event) => {
  const form = event.target;
  if (!form.getAttribute("data-send")) return;
  event.preventDefault();
  if (form.ariaBusy === "true") return;
  const question = event.submitter?.dataset.confirm || form.getAttribute("data-confirm");
  if (question && !(await confirmed(question))) return;
  form.ariaBusy = "true";
  tell(form, "");
  try {
    await send(form, event.submitter);
  } catch (error) {
    tell(form, error.message, error.hint);
  } finally {
    form.ariaBusy = "false";
  }
});

async function send(form, submitter) {
  const [method, address] = (submitter?.dataset.send || form.getAttribute("data-send")).split(" ");
  const url = new URL(root + address, document.baseURI);
  const file = form.querySelector("input[type=file]");
  const fields = fieldsOf(form, submitter);
  const headers = { Accept: "application/json" };
  let body;
  if (file) {
    if (!file.files.length) return;
    for (const [name, value] of Object.entries(fields)) url.searchParams.set(name, value);
    if (file.name) url.searchParams.set(file.name, file.files[0].name);
    headers["Content-Type"] = "application/octet-stream";
    body = file.files[0];
  } else if (method !== "DELETE") {
    headers["Content-Type"] = "application/json";
    body = JSON.stringify(fields);
  }
  const answer = await fetch(url, { method, headers, body, credentials: "same-origin" });
  const said = await answer.json().catch(() => ({}));
  if (!answer.ok) {
    const problem = said.error || { message: `${answer.status} ${answer.statusText}` };
    throw Object.assign(new Error(problem.message), { hint: problem.hint });
  }
  const sent = new CustomEvent("sent", { detail: said, bubbles: true, cancelable: true });
  if (!form.dispatchEvent(sent)) return;
  const next = form.getAttribute("data-next");
  if (next === null) {
    window.location.reload();
  } else {
    const filled = next.replace(/\{(\w+)\}/g, (_, name) => encodeURIComponent(said[name]));
    window.location.assign(new URL(root + filled, document.baseURI));
  }
}

function fieldsOf(form, submitter) {
  const fields = {};
  for (const field of form.elements) {
    if (!field.name || field.disabled || field.type === "file") continue;
    if (field.type === "submit" ? field !== submitter : field.type === "button") continue;
    const value = valueOf(form, field);
    if (value === undefined) continue;
    const names = field.name.split(".");
    const last = names.pop();
    let place = fields;
    for (const name of names) place = place[name] ??= {};
    place[last] = value;
  }
  return fields;
}

function valueOf(form, field) {
  const same = form.elements[field.name];
  if (field.type === "radio") return field.checked ? field.value : undefined;
  if (field.type === "select-multiple") return [...field.selectedOptions].map((one) => one.value);
  if (field.type === "checkbox") {
    if (!(same instanceof RadioNodeList)) return field.checked;
    return [...same].filter((one) => one.checked).map((one) => one.value);
  }
  const text = field.value.trim();
  if ("lines" in field.dataset) return text ? text.split(/\s*\n\s*/) : [];
  if ("pairs" in field.dataset) return pairsOf(field);
  if ("json" in field.dataset && text !== "") return JSON.parse(text);
  if (text === "") return "null" in field.dataset ? null : undefined;
  return field.type === "number" || field.type === "range" ? Number(text) : text;
}

// A key that was taken out is null, so that a patch takes it out. A value is JSON, or else a text.
function pairsOf(field) {
  const before = readPairs(field.defaultValue, field);
  const now = readPairs(field.value, field);
  for (const key of Object.keys(before)) if (!(key in now)) now[key] = null;
  return now;
}

function readPairs(text, field) {
  const pairs = {};
  for (const line of text.split("\n").filter((one) => one.trim())) {
    const found = line.match(/^\s*([^:]+?)\s*:\s*(.*?)\s*$/);
    if (!found) throw new Error(`${field.dataset.pairs}: ${line.trim()}`);
    try {
      pairs[found[1]] = JSON.parse(found[2]);
    } catch {
      pairs[found[1]] = found[2];
    }
  }
  return pairs;
}

function tell(form, message, hint) {
  let told = form.querySelector(".told");
  if (!told) {
    told = document.createElement("div");
    told.className = "told";
    told.setAttribute("role", "alert");
    form.append(told);
  }
  told.replaceChildren();
  for (const [name, text] of [["strong", message], ["span", hint]]) {
    if (text) told.appendChild(document.createElement(name)).textContent = text;
  }
}

function confirmed(question) {
  const dialog = document.getElementById("confirm");
  dialog.querySelector("p").textContent = question;
  dialog.returnValue = "no";
  dialog.showModal();
  return new Promise((resolve) => {
    dialog.addEventListener("close", () => resolve(dialog.returnValue === "yes"), { once: true });
  });
}

// Airflow shows pages in a frame from which nothing outside of it can be opened. The page around
// it, of the same origin, can.
document.addEventListener("click", (event) => {
  const link = event.target.closest("a[target]");
  if (!link || window.parent === window) return;
  event.preventDefault();
  const outside = window.parent.document.createElement("a");
  outside.href = link.href;
  outside.target = link.target === "_blank" ? "_blank" : "_self";
  outside.rel = link.rel;
  outside.click();
});

document.addEventListener("keydown", (event) => {
  if (event.target.closest("input, select, textarea, .scroll")) return;
  if (event.altKey || event.ctrlKey || event.metaKey || event.shiftKey) return;
  const rel = { ArrowLeft: "prev", ArrowRight: "next" }[event.key];
  const link = rel && document.querySelector(`a[rel="${rel}"]`);
  if (link) link.click();
});
