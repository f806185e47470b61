// What scripts add to the dashboard: it stays fresh, and snippets can be copied. Everything can be read without them.
"use strict";

const WAIT = 250; // ms, so that a burst of changes is one refresh
const PAUSE = 1000; // ms between two refreshes at least

const regions = [...document.querySelectorAll("[data-live]")].filter((region) => region.id);
const kinds = new Set(regions.flatMap((region) => region.dataset.live.split(" ")));
const state = document.querySelector("[data-live-state]");
const pause = document.querySelector("[data-live-pause]");
const shown = new Map();
let feed = null;
let timer = null;
let last = 0;
let paused = false;

// The page is rendered anew on the server; its live regions replace those that are shown.
async function refresh() {
  timer = null;
  last = Date.now();
  let fresh;
  try {
    const page = new URL(location.href);
    page.searchParams.delete("notice");
    const response = await fetch(page, { headers: { Accept: "text/html" } });
    if (!response.ok) return;
    fresh = new DOMParser().parseFromString(await response.text(), "text/html");
  } catch {
    return; // the sandbox stops or starts again; the feed reconnects by itself
  }
  document.body.dataset.position = fresh.body.dataset.position;
  for (const region of regions) {
    const next = fresh.getElementById(region.id);
    if (!next || region.dataset.dirty || next.innerHTML === shown.get(region)) continue;
    shown.set(region, next.innerHTML);
    const focused = region.contains(document.activeElement) ? document.activeElement : null;
    if (focused && focused.matches("input, select, textarea")) continue; // somebody is about to type
    const open = new Set([...region.querySelectorAll("details[open]")].map((one) => one.id || one.textContent));
    region.replaceChildren(...[...next.childNodes].map((node) => document.importNode(node, true)));
    for (const one of region.querySelectorAll("details")) one.open = open.has(one.id || one.textContent);
    if (focused) {
      const href = focused.getAttribute("href");
      const again = href && [...region.querySelectorAll("a")].find((link) => link.getAttribute("href") === href);
      if (again) again.focus();
    }
    showCopyButtons(region);
  }
}

// What somebody has entered in a region's form must not be replaced.
for (const region of regions) region.addEventListener("input", () => (region.dataset.dirty = "1"));

function changed(event) {
  if (paused || timer || !kinds.has(event.data)) return;
  timer = setTimeout(refresh, Math.max(WAIT, last + PAUSE - Date.now()));
}

function show(text, on) {
  if (!state) return;
  state.hidden = false;
  state.textContent = text;
  state.classList.toggle("on", on);
}

// A browser has few connections per host, so hidden tabs close theirs.
function connect() {
  if (!kinds.size || feed || paused || document.hidden) return;
  feed = new EventSource(`/dashboard/live?after=${document.body.dataset.position}`);
  feed.onopen = () => show("Live", true);
  feed.onerror = () => show("Reconnecting…", false);
  feed.addEventListener("change", changed);
}

function disconnect() {
  if (feed) feed.close();
  feed = null;
}

// Regions come and go, so what their buttons do is listened for above them.
function showCopyButtons(root) {
  for (const button of root.querySelectorAll("button[data-copy]")) button.hidden = !navigator.clipboard;
}

document.addEventListener("click", async (event) => {
  const button = event.target.closest("button[data-copy]");
  if (!button) return;
  await navigator.clipboard.writeText(button.parentElement.querySelector("code").textContent);
  button.textContent = "Copied";
  setTimeout(() => (button.textContent = "Copy"), 1500);
});
document.addEventListener("submit", (event) => {
  const question = event.submitter && event.submitter.dataset.confirm;
  if (question && !confirm(question)) event.preventDefault();
});

document.addEventListener("visibilitychange", () => {
  if (document.hidden) return disconnect();
  if (kinds.size && !paused) refresh();
  connect();
});
if (pause) {
  pause.hidden = false;
  pause.onclick = () => {
    paused = !paused;
    pause.textContent = paused ? "Resume" : "Pause";
    pause.setAttribute("aria-pressed", String(paused));
    if (paused) {
      disconnect();
      show("Paused", false);
    } else {
      refresh();
      connect();
    }
  };
}
const here = document.querySelector("nav [aria-current=page]");
if (here) here.closest("nav").scrollLeft = here.offsetLeft - 40; // on a phone the links are wider than the screen
showCopyButtons(document);
connect();
