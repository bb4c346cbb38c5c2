// Comfort for those whose browser runs scripts; without it every page can still
// be read and used. Nothing here makes HTML of text: the policy of the pages
// forbids it (require-trusted-types-for 'script').
"use strict";

// On a phone the navigation is wider than the screen; the page's own entry shows.
const own = document.querySelector(".top nav [aria-current]");
if (own) own.parentElement.scrollLeft += own.getBoundingClientRect().right - own.parentElement.getBoundingClientRect().right + 16;

// Buttons that copy.
for (const button of document.querySelectorAll("[data-copy]")) {
  if (!navigator.clipboard) break;
  button.hidden = false;
  const word = button.textContent;
  button.addEventListener("click", async () => {
    await navigator.clipboard.writeText(button.dataset.copy);
    button.textContent = "Copied";
    setTimeout(() => { button.textContent = word; }, 1500);
  });
}

// Back through the pages of a list, which only know what comes after them.
for (const button of document.querySelectorAll("[data-back]")) {
  if (!document.referrer.startsWith(location.origin + location.pathname)) break;
  button.hidden = false;
  button.addEventListener("click", () => history.back());
}

// Choosing rows: all at once, and how many.
const all = document.querySelector("[data-all]");
const picks = [...document.querySelectorAll("td.pick input")];
const chosen = document.querySelector("[data-chosen]");
function countChosen() {
  const n = picks.filter((pick) => pick.checked).length;
  if (chosen) chosen.textContent = n ? String(n) : "";
  if (all) {
    all.checked = n === picks.length;
    all.indeterminate = n > 0 && n < picks.length;
  }
}
if (all) {
  all.hidden = false;
  all.addEventListener("change", () => {
    for (const pick of picks) pick.checked = all.checked;
    countChosen();
  });
  for (const pick of picks) pick.addEventListener("change", countChosen);
  countChosen();
}

// Keys: "/" searches, "j" and "k" go through the rows, Enter opens (the focus is
// on the row's link).
let at = -1;
function go(step) {
  const rows = [...document.querySelectorAll("[data-rows] > li, [data-rows] tbody > tr")];
  if (!rows.length) return;
  if (rows[at]) rows[at].classList.remove("at");
  at = Math.min(Math.max(at + step, 0), rows.length - 1);
  rows[at].classList.add("at");
  const link = rows[at].querySelector("a");
  if (link) link.focus();
  rows[at].scrollIntoView({ block: "nearest" });
}
document.addEventListener("keydown", (event) => {
  if (event.ctrlKey || event.metaKey || event.altKey || event.target.closest("input, textarea, select")) return;
  const search = document.querySelector("[data-search]");
  if (event.key === "/" && search) {
    event.preventDefault();
    search.focus();
    search.select();
  } else if (event.key === "j") {
    go(1);
  } else if (event.key === "k") {
    go(-1);
  }
});

// Drawing over an axis of time with the mouse zooms in: the same page with that
// time in its address.
for (const axis of document.querySelectorAll("[data-zoom]")) {
  axis.toggleAttribute("data-ready", true);
  const from = Date.parse(axis.dataset.from), whole = Date.parse(axis.dataset.to) - from;
  let begun = null, chosen = null;
  const share = (event) => {
    const box = axis.getBoundingClientRect();
    return Math.min(Math.max((event.clientX - box.left) / box.width, 0), 1);
  };
  axis.addEventListener("dragstart", (event) => event.preventDefault()); // of the links in it
  axis.addEventListener("pointerdown", (event) => {
    if (event.button === 0 && event.pointerType !== "touch") begun = share(event);
  });
  axis.addEventListener("pointermove", (event) => {
    if (begun === null) return;
    const now = share(event);
    if (!chosen) {
      if (Math.abs(now - begun) < 0.005) return;
      chosen = document.createElementNS("http://www.w3.org/2000/svg", "rect");
      chosen.setAttribute("class", "chosen");
      chosen.setAttribute("height", "100%");
      axis.append(chosen);
      axis.setPointerCapture(event.pointerId);
    }
    chosen.setAttribute("x", Math.min(begun, now) * 100 + "%");
    chosen.setAttribute("width", Math.abs(now - begun) * 100 + "%");
  });
  const end = (event) => {
    if (chosen && event.type === "pointerup") {
      const now = share(event), address = new URL(axis.dataset.zoom, location.href);
      const step = axis.dataset.step * 1000; // whole bars are chosen
      const time = (at, round) => new Date(from + round(at * whole / step) * step).toISOString().replace(".000", "");
      address.searchParams.set("from", time(Math.min(begun, now), Math.floor));
      address.searchParams.set("to", time(Math.max(begun, now), Math.ceil));
      location.assign(address);
    }
    if (chosen) chosen.remove();
    begun = chosen = null;
  };
  axis.addEventListener("pointerup", end);
  axis.addEventListener("pointercancel", end);
}

// Parts that change while somebody looks at them: the page is read again and
// its parts put in place, until they say no more that they are live. A request
// for a document parses it without running anything in it. Where the page names
// a stream of events, it is read again when one comes, and seldom without.
const told = document.querySelector("[data-events]");
const pace = told ? 15000 : 2000;
let timer = 0, last = 0;
function refreshIn(wait) {
  clearTimeout(timer);
  timer = setTimeout(refresh, wait);
}
function refresh() {
  const parts = [...document.querySelectorAll("[data-live]")];
  if (!parts.length) return;
  if (document.hidden) {
    refreshIn(2000);
    return;
  }
  const request = new XMLHttpRequest();
  request.open("GET", location.href);
  request.responseType = "document";
  request.onload = () => {
    if (request.status !== 200 || !request.response) return;
    for (const part of parts) {
      const fresh = request.response.getElementById(part.id);
      if (!fresh) continue;
      // Whoever is at a part, or has opened something in it, keeps it as it is.
      const busy = part.contains(document.activeElement) || part.querySelector("details[open]");
      if (!busy && !part.isEqualNode(fresh)) part.replaceWith(document.adoptNode(fresh));
    }
    last = Date.now();
    refreshIn(pace);
  };
  request.onerror = () => refreshIn(5 * pace);
  request.send();
}
if (told && document.querySelector("[data-live]")) {
  const events = new EventSource(told.dataset.events);
  events.onmessage = () => {
    if (!document.querySelector("[data-live]")) events.close();
    refreshIn(Math.max(200, last + 1000 - Date.now())); // many at once are one
  };
  addEventListener("pagehide", () => events.close());
}
refreshIn(pace);
