"use strict";

// The threshold of an evaluation: its counts are asked for once, then everything is sums.
const threshold = document.getElementById("threshold");
if (threshold) watchThreshold(threshold);

const shelf = document.getElementById("shelf");
if (shelf) watchShelf(shelf);

const look = document.getElementById("look");
if (look) watchLook(look);

async function watchThreshold(section) {
  const slider = section.querySelector("[data-slider]");
  const chosen = section.querySelector("[data-class]");
  const counts = (await asked(section.dataset.evaluation)).counts;
  const whole = summed(Object.values(counts.per_class), counts.confidence.length);
  const show = () => {
    const one = chosen.value ? counts.per_class[chosen.value] : whole;
    const step = Number(slider.value);
    tellAt(section, counts.confidence[step], figures(one, step));
    for (const row of section.querySelectorAll("tr[data-name]")) {
      const told = figures(counts.per_class[row.dataset.name], step);
      for (const cell of row.querySelectorAll("[data-cell]")) {
        cell.textContent = worded(cell.dataset.cell, told[cell.dataset.cell]);
      }
    }
    draw(section.querySelector("svg"), one, step);
  };
  slider.addEventListener("input", show);
  chosen.addEventListener("change", show);
  show();
  section.dataset.ready = "";
}

function summed(classes, steps) {
  const sums = { boxes: 0, tp: new Array(steps).fill(0), fp: new Array(steps).fill(0) };
  for (const one of classes) {
    sums.boxes += one.boxes;
    for (let step = 0; step < steps; step += 1) {
      sums.tp[step] += one.tp[step];
      sums.fp[step] += one.fp[step];
    }
  }
  return sums;
}

function figures(one, step) {
  const tp = one.tp[step];
  const fp = one.fp[step];
  const precision = tp + fp ? tp / (tp + fp) : null;
  const recall = one.boxes ? tp / one.boxes : null;
  const f1 = precision && recall ? (2 * precision * recall) / (precision + recall) : 0;
  return { precision, recall, f1, tp, fp, fn: one.boxes - tp };
}

function tellAt(section, confidence, told) {
  section.querySelector('[data-told="confidence"]').textContent = confidence.toFixed(2);
  for (const [name, value] of Object.entries(told)) {
    section.querySelector(`[data-told="${name}"]`).textContent = worded(name, value);
  }
}

function worded(name, value) {
  if (value === null) return "–";
  if (["tp", "fp", "fn"].includes(name)) {
    return String(value).replace(/\B(?=(\d{3})+$)/g, "\u202f");
  }
  return value.toFixed(3);
}

function draw(svg, one, step) {
  const [left, top, wide, high] = svg.dataset.plane.split(" ").map(Number);
  const spot = ({ recall, precision }) => [left + recall * wide, top + (1 - precision) * high];
  const points = [];
  for (let each = one.tp.length - 1; each >= 0; each -= 1) {
    const told = figures(one, each);
    if (told.precision !== null && told.recall !== null) {
      points.push(spot(told).map((side) => side.toFixed(1)).join(","));
    }
  }
  svg.querySelector("[data-movable]").setAttribute("points", points.join(" "));
  const now = figures(one, step);
  const [x, y] = now.precision === null || now.recall === null ? [-20, -20] : spot(now);
  svg.querySelector(".mark").setAttribute("cx", x.toFixed(1));
  svg.querySelector(".mark").setAttribute("cy", y.toFixed(1));
}

async function asked(address) {
  const answer = await fetch(new URL(root + address, document.baseURI), {
    headers: { Accept: "application/json" },
    credentials: "same-origin",
  });
  const said = await answer.json();
  if (!answer.ok) throw Object.assign(new Error(said.error.message), { hint: said.error.hint });
  return said;
}

// Two models are compared: a third box that is ticked lets the first one go.
function watchShelf(form) {
  const ticked = [];
  const button = form.querySelector("[data-two]");
  const tick = () => (button.disabled = ticked.length !== 2);
  form.addEventListener("change", (event) => {
    if (event.target.checked) ticked.push(event.target);
    else ticked.splice(ticked.indexOf(event.target), 1);
    if (ticked.length > 2) ticked.shift().checked = false;
    tick();
  });
  for (const box of form.querySelectorAll("input:checked")) ticked.push(box);
  tick();
}

// A picture is sent by console.js; here it is waited for, and its boxes are drawn.
function watchLook(form) {
  const drop = form.querySelector(".drop");
  const file = form.querySelector("input[type=file]");
  for (const kind of ["dragenter", "dragover", "dragleave", "drop"]) {
    drop.addEventListener(kind, (event) => {
      event.preventDefault();
      drop.classList.toggle("over", kind.startsWith("drag") && kind !== "dragleave");
    });
  }
  drop.addEventListener("drop", (event) => {
    file.files = event.dataTransfer.files;
    form.requestSubmit();
  });
  let newest = null;
  form.addEventListener("sent", (event) => {
    event.preventDefault();
    newest = event.detail.look;
    waitFor(newest, () => newest === event.detail.look);
  });
}

async function waitFor(name, isNewest) {
  const status = document.querySelector(".status");
  const seen = document.querySelector("[data-look]");
  const found = document.querySelector("[data-found]");
  status.textContent = status.dataset.waiting;
  seen.hidden = false;
  found.hidden = true;
  seen.querySelector("[data-boxes]").replaceChildren();
  seen.querySelector("img").src = new URL(`${root}${seen.dataset.look}${name}/picture`, document.baseURI);
  for (let pause = 300; isNewest(); pause = Math.min(3000, pause * 1.3)) {
    let said;
    try {
      said = await asked(seen.dataset.look + name);
    } catch (error) {
      status.textContent = [error.message, error.hint].filter(Boolean).join(". ");
      return;
    }
    if (!isNewest()) return;
    linkRun(said.address);
    if (said.state === "failed") {
      status.textContent = said.message || status.dataset.failed;
      return;
    }
    if (said.state === "done") {
      const picture = seen.querySelector("img");
      await picture.decode();
      picture.parentElement.classList.toggle("small", picture.naturalWidth < 480);
      showFound(said.boxes);
      return;
    }
    await new Promise((resolve) => setTimeout(resolve, pause));
  }
}

function linkRun(address) {
  const run = document.querySelector("[data-run]");
  run.hidden = !address;
  if (address) run.querySelector("a").href = address;
}

function showFound(boxes) {
  const found = document.querySelector("[data-found]");
  const slider = found.querySelector("[data-least]");
  const kinds = found.querySelector(".kinds");
  const names = [...new Set(boxes.map((box) => box.class_name))].sort();
  const colour = new Map(names.map((name, index) => [name, `k${index % 12}`]));
  kinds.querySelectorAll("label").forEach((label) => label.remove());
  for (const name of names) kinds.append(kindBox(name, colour.get(name)));
  const show = () => {
    found.querySelector("output").textContent = Number(slider.value).toFixed(2);
    const ticked = new Set([...kinds.querySelectorAll("input:checked")].map((box) => box.value));
    const shown = boxes.filter(
      (box) => box.score >= Number(slider.value) && ticked.has(box.class_name),
    );
    shown.sort((one, other) => other.score - one.score);
    tellFound(shown, boxes.length);
    drawBoxes(shown, colour);
    found.querySelector("tbody").replaceChildren(...shown.map((box) => rowOf(box, colour)));
  };
  slider.oninput = show;
  kinds.onchange = show;
  found.hidden = !boxes.length;
  show();
}

function kindBox(name, colour) {
  const label = made("label", "check");
  const box = document.createElement("input");
  Object.assign(box, { type: "checkbox", value: name, checked: true });
  const text = document.createElement("span");
  text.append(made("i", `swatch ${colour}`), ` ${name}`);
  label.append(box, text);
  return label;
}

function tellFound(shown, all) {
  const status = document.querySelector(".status");
  const words = all ? status.dataset.count : status.dataset.none;
  status.textContent = words.replace("{shown}", shown.length).replace("{all}", all);
}

function rowOf(box, colour) {
  const row = document.createElement("tr");
  const name = made("th");
  name.scope = "row";
  name.append(made("i", `swatch ${colour.get(box.class_name)}`), box.class_name);
  const { x, y, w, h } = box.box;
  const texts = [box.score.toFixed(2), `${Math.round(x)}, ${Math.round(y)}`, `${Math.round(w)} × ${Math.round(h)}`];
  row.append(name, ...texts.map((text) => Object.assign(made("td", "num nowrap"), { textContent: text })));
  return row;
}

function drawBoxes(shown, colour) {
  const picture = document.querySelector("[data-picture]");
  const svg = document.querySelector("[data-boxes]");
  svg.setAttribute("viewBox", `0 0 ${picture.naturalWidth} ${picture.naturalHeight}`);
  const size = (13 * picture.naturalWidth) / Math.max(1, picture.clientWidth);
  svg.replaceChildren(...[...shown].reverse().map((box) => boxOf(box, colour, size, picture)));
}

function boxOf(box, colour, size, picture) {
  const { x, y, w, h } = box.box;
  const text = `${box.class_name} ${box.score.toFixed(2)}`;
  const wide = (text.length * 0.6 + 0.7) * size;
  const left = Math.max(0, Math.min(x, picture.naturalWidth - wide));
  const top = Math.max(0, y - size * 1.3);
  const group = drawn("g");
  const shape = drawn("g", { class: `shape ${colour.get(box.class_name)}` });
  shape.append(drawn("rect", { class: "halo", x, y, width: w, height: h }));
  shape.append(drawn("rect", { x, y, width: w, height: h }));
  const name = drawn("g", { class: `name ${colour.get(box.class_name)}` });
  name.append(drawn("rect", { x: left, y: top, width: wide, height: size * 1.3 }));
  const label = drawn("text", { x: left + size * 0.35, y: top + size, "font-size": size });
  label.textContent = text;
  name.append(label);
  group.append(shape, name);
  return group;
}

function made(tag, name) {
  const element = document.createElement(tag);
  if (name) element.className = name;
  return element;
}

function drawn(tag, values = {}) {
  const element = document.createElementNS("http://www.w3.org/2000/svg", tag);
  for (const [name, value] of Object.entries(values)) element.setAttribute(name, value);
  return element;
}
