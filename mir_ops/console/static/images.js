// The grid loads further pages while one scrolls, and forgets those that are far away; the image
// page zooms. Without script both work as pages.

const tiles = document.getElementById("tiles");
const place = document.getElementById("place");

if (tiles) browse(tiles);
document.querySelector("input[list=tags]")?.addEventListener("focus", offer, { once: true });
for (const viewer of document.querySelectorAll(".viewer")) zoom(viewer);

async function part(name, page) {
  const address = new URL(window.location.href);
  address.searchParams.set("only", name);
  if (page) address.searchParams.set("page", page);
  const answer = await fetch(address, { credentials: "same-origin" });
  if (!answer.ok) throw new Error(`${answer.status}`);
  return new DOMParser().parseFromString(await answer.text(), "text/html");
}

// Which tags there are takes a look at every box, so it is asked when somebody is about to choose.
async function offer() {
  const parsed = await part("tags");
  document.getElementById("tags").replaceWith(document.adoptNode(parsed.getElementById("tags")));
}

function browse(holder) {
  const most = Number(holder.dataset.most);
  const trouble = document.getElementById("trouble");
  const status = document.querySelector("[role=status]");
  const number = new Intl.NumberFormat(document.documentElement.lang);
  const blocks = () => [...holder.children];
  const pageOf = (block) => Number(block.dataset.page);
  let loading = null;
  let shown = pageOf(holder.firstElementChild);
  let turn = 0; // what was asked for before a jump is not wanted after it

  async function load(page) {
    const parsed = await part("tiles", page);
    return document.adoptNode(parsed.querySelector(".grid"));
  }

  // What is above must not move what is seen.
  function keep(block, change) {
    const before = block.getBoundingClientRect().top;
    change();
    window.scrollBy(0, block.getBoundingClientRect().top - before);
  }

  function forget() {
    while (holder.children.length > most) {
      const all = blocks();
      const near = all.findIndex((block) => pageOf(block) === shown);
      if (near > all.length / 2) keep(all[near], () => all[0].remove());
      else all[all.length - 1].remove();
    }
  }

  async function extend() {
    if (loading) return;
    const [first, last] = [holder.firstElementChild, holder.lastElementChild];
    const room = window.innerHeight * 1.5;
    const below = last.getBoundingClientRect().bottom < window.innerHeight + room;
    const above = first.getBoundingClientRect().top > -room;
    let wanted = null;
    if (below && pageOf(last) < Number(last.dataset.pages)) wanted = pageOf(last) + 1;
    else if (above && pageOf(first) > 1) wanted = pageOf(first) - 1;
    if (wanted === null) return;
    const asked = turn;
    loading = load(wanted);
    try {
      const block = await loading;
      if (asked !== turn) return;
      if (wanted > pageOf(first)) holder.append(block);
      else keep(first, () => holder.prepend(block));
      trouble.hidden = true;
      forget();
    } catch {
      trouble.hidden = false;
      return;
    } finally {
      loading = null;
    }
    extend();
  }

  async function jump(page) {
    const asked = ++turn;
    try {
      const block = await load(page);
      if (asked !== turn) return;
      loading = null;
      shown = pageOf(block);
      holder.replaceChildren(block);
      const top = holder.getBoundingClientRect().top;
      if (top < 0) window.scrollBy(0, top - 60);
      trouble.hidden = true;
    } catch {
      trouble.hidden = false;
      return;
    }
    tell();
    extend();
  }

  function tell() {
    const middle = window.innerHeight / 2;
    const seen = blocks().find((block) => block.getBoundingClientRect().bottom > middle);
    const block = seen || holder.lastElementChild;
    const values = { total: block.dataset.total, first: block.dataset.first, last: block.dataset.last };
    status.textContent = status.dataset.text.replace(/\{(\w+)\}/g, (_, name) => number.format(values[name]));
    if (pageOf(block) === shown) return;
    shown = pageOf(block);
    if (place && document.activeElement !== place) place.value = shown;
    const address = new URL(window.location.href);
    if (shown > 1) address.searchParams.set("page", shown);
    else address.searchParams.delete("page");
    window.history.replaceState(window.history.state, "", address);
  }

  let waiting = false;
  function look() {
    if (waiting) return;
    waiting = true;
    requestAnimationFrame(() => {
      waiting = false;
      tell();
      extend();
    });
  }

  window.addEventListener("scroll", look, { passive: true });
  window.addEventListener("resize", look);
  trouble.querySelector("button").addEventListener("click", () => extend());
  place?.addEventListener("change", () => {
    const address = new URL(window.location.href);
    address.searchParams.set("page", place.value);
    window.history.replaceState(window.history.state, "", address);
    jump(Number(place.value));
  });
  document.addEventListener("keydown", (event) => walk(event, holder), { capture: true });
  extend();
}

// Arrows go from tile to tile once one has the focus.
function walk(event, holder) {
  const tile = event.target.closest?.(".tile");
  if (!tile || event.altKey || event.ctrlKey || event.metaKey || event.shiftKey) return;
  const all = [...holder.querySelectorAll(".tile")];
  const at = all.indexOf(tile);
  const top = tile.offsetTop;
  const row = Math.max(1, all.filter((one) => one.offsetTop === top && one.closest(".grid") === tile.closest(".grid")).length);
  const step = { ArrowLeft: -1, ArrowRight: 1, ArrowUp: -row, ArrowDown: row }[event.key];
  if (!step) return;
  event.stopImmediatePropagation();
  event.preventDefault();
  all[at + step]?.focus();
}

function zoom(viewer) {
  const frame = viewer.querySelector(".frame");
  const stage = viewer.querySelector(".stage");
  const told = viewer.querySelector("output");
  let scale = 1;
  let [x, y] = [0, 0];
  let held = null;

  function draw() {
    const most = (size) => (size * (scale - 1)) / 2;
    x = Math.min(most(frame.clientWidth), Math.max(-most(frame.clientWidth), x));
    y = Math.min(most(frame.clientHeight), Math.max(-most(frame.clientHeight), y));
    stage.style.transform = `translate(${x}px, ${y}px) scale(${scale})`;
    frame.classList.toggle("zoomed", scale > 1);
    told.textContent = `${Math.round(scale * 100)} %`;
  }

  function to(wanted, at) {
    const next = Math.min(16, Math.max(1, wanted));
    const box = frame.getBoundingClientRect();
    const [left, top] = at ? [at.x - box.x - box.width / 2, at.y - box.y - box.height / 2] : [0, 0];
    x = left - ((left - x) * next) / scale;
    y = top - ((top - y) * next) / scale;
    scale = next;
    draw();
  }

  frame.addEventListener("wheel", (event) => {
    if (!event.ctrlKey && scale === 1 && event.deltaY > 0) return; // the page scrolls
    event.preventDefault();
    to(scale * Math.exp(-event.deltaY / 400), event);
  }, { passive: false });
  frame.addEventListener("dblclick", (event) => to(scale > 1 ? 1 : 3, event));
  frame.addEventListener("pointerdown", (event) => {
    if (scale === 1 || event.button) return;
    held = { x: event.x - x, y: event.y - y };
    frame.setPointerCapture(event.pointerId);
  });
  frame.addEventListener("pointermove", (event) => {
    if (!held) return;
    [x, y] = [event.x - held.x, event.y - held.y];
    draw();
  });
  for (const name of ["pointerup", "pointercancel"]) frame.addEventListener(name, () => { held = null; });
  frame.addEventListener("dragstart", (event) => event.preventDefault());
  const steps = { in: () => to(scale * 1.5), out: () => to(scale / 1.5), fit: () => to(1) };
  for (const button of viewer.querySelectorAll("[data-zoom]")) {
    button.addEventListener("click", steps[button.dataset.zoom]);
  }
  document.addEventListener("keydown", (event) => {
    if (event.target.closest?.("input, select, textarea") || event.ctrlKey || event.metaKey || event.altKey) return;
    const step = { "+": "in", "=": "in", "-": "out", 0: "fit" }[event.key];
    if (step) steps[step]();
    if (event.key === "Escape") document.querySelector("a[rel=up]")?.click();
  });

  // A row of the table and its shape on the image go together.
  const shapes = [...stage.querySelectorAll(".overlay g.shape")];
  const names = [...stage.querySelectorAll(".overlay g.name")];
  for (const row of document.querySelectorAll("tr[data-shape]")) {
    const number = Number(row.dataset.shape);
    const parts = [shapes[number], names[number]].filter(Boolean);
    const mark = (on) => {
      stage.classList.toggle("pointed", on);
      for (const part of parts) part.classList.toggle("here", on);
    };
    row.addEventListener("mouseenter", () => mark(true));
    row.addEventListener("mouseleave", () => mark(false));
    row.addEventListener("focus", () => mark(true));
    row.addEventListener("blur", () => mark(false));
  }
}
