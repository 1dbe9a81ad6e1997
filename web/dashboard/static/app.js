// Holdfast's pages work without this file; with it they stay current by themselves.
"use strict";

const all = (selector, root = document) => [...root.querySelectorAll(selector)];
const one = (selector, root = document) => root.querySelector(selector);
const root = document.documentElement;

// --- dark and light ---

function isDark() {
  return root.dataset.theme ? root.dataset.theme === "dark" : matchMedia("(prefers-color-scheme: dark)").matches;
}

function switchTheme() {
  root.dataset.theme = isDark() ? "light" : "dark";
  try { localStorage.setItem("holdfast-theme", root.dataset.theme); } catch { /* not kept, then */ }
  document.dispatchEvent(new Event("holdfast:theme"));
}

matchMedia("(prefers-color-scheme: dark)").addEventListener("change", () => document.dispatchEvent(new Event("holdfast:theme")));

// --- times that tick; the words are those of web/dashboard/words.py ---

const STEPS = [[86400, "d"], [3600, "h"], [60, "min"], [1, "s"]];

// How far the server's clock is ahead of this one.
let ahead = 0;

function setClock(iso) {
  const now = Date.parse(iso);
  if (now) ahead = now - Date.now();
}

function ago(milliseconds) {
  const seconds = (Date.now() + ahead - milliseconds) / 1000;
  const far = Math.abs(seconds);
  if (far < 1) return "now";
  const [size, unit] = STEPS.find(([step]) => far >= step);
  const count = `${Math.floor(far / size)} ${unit}`;
  return seconds > 0 ? `${count} ago` : `in ${count}`;
}

function tick() {
  if (document.hidden) return;
  for (const time of all("time[datetime]:not([data-exact])")) {
    const text = ago(Date.parse(time.dateTime));
    if (time.textContent !== text) time.textContent = text;
  }
}

// --- the live part of a page ---

const STREAMS_MAX = 4; // of a browser: HTTP/1.1 has six connections for all its tabs
const POLL_MS = 2000;
const SILENT_MS = 8000; // something comes every second
const FIRST_MS = 5000; // and the first of it at once, unless a proxy holds it back
const LUMPS_MAX = 3;
const STREAM_AGAIN_MS = 300000;

class Live {
  constructor(region) {
    this.region = region;
    this.address = `/dashboard/live/${region.dataset.live}`;
    this.turn = 0;
    this.streamAgainAt = 0;
    document.addEventListener("visibilitychange", () => (document.hidden ? this.stop() : this.start()));
    addEventListener("pagehide", () => this.stop());
    addEventListener("pageshow", (event) => event.persisted && this.start());
    if (!document.hidden) this.start();
  }

  async start() {
    this.stop();
    const turn = ++this.turn;
    const release = "EventSource" in window && Date.now() >= this.streamAgainAt ? await freeSlot() : null;
    if (turn !== this.turn || document.hidden) { release?.(); return; }
    this.release = release;
    if (release) this.stream(); else this.poll(turn);
  }

  stop() {
    this.turn++;
    clearTimeout(this.timer);
    this.source?.close();
    this.release?.();
    this.source = this.release = null;
  }

  stream() {
    this.source = new EventSource(this.address);
    this.lumps = 0;
    this.source.onmessage = (event) => {
      // Snapshots are a second apart: several at once were held back on the way.
      this.lumps = Date.now() - this.cameAt < 250 ? this.lumps + 1 : 0;
      this.cameAt = Date.now();
      this.show(event.data);
      if (this.lumps >= LUMPS_MAX) this.poll(this.leaveStream(), 0, true);
      else this.watch(SILENT_MS, () => { this.lost(); this.start(); });
    };
    this.source.onerror = () => {
      this.lost();
      // Refused for good, by its own account: asking once says why.
      if (this.source?.readyState === EventSource.CLOSED) this.poll(this.leaveStream());
    };
    this.watch(FIRST_MS, () => this.poll(this.leaveStream(), 0, true));
  }

  leaveStream() {
    this.stop();
    return this.turn;
  }

  watch(wait, then) {
    clearTimeout(this.timer);
    this.timer = setTimeout(then, wait);
  }

  // held: the stream is open and brings nothing. Where an answer comes all the same, a proxy on the
  // way buffers, and the next stream would fare no better.
  async poll(turn, count = 0, held = false) {
    if (turn !== this.turn) return;
    let wait = POLL_MS;
    try {
      const answer = await fetch(`${this.address}?poll=1`, { headers: { Accept: "text/html" }, signal: AbortSignal.timeout(SILENT_MS) });
      if (answer.status === 401 || answer.status === 403) { location.reload(); return; }
      if (!answer.ok) throw new Error(answer.status);
      const html = await answer.text();
      if (turn !== this.turn) return;
      this.show(html);
      if (held) this.streamAgainAt = Date.now() + STREAM_AGAIN_MS;
    } catch {
      if (turn !== this.turn) return;
      this.lost();
      wait = Math.min(10000, POLL_MS + 500 * count);
    }
    // A place among the streams may have come free.
    this.timer = setTimeout(() => (count % 10 === 9 ? this.start() : this.poll(turn, count + 1)), wait);
  }

  show(html) {
    Idiomorph.morph(this.region, html, {
      morphStyle: "innerHTML",
      ignoreActiveValue: true,
      callbacks: { beforeAttributeUpdated: (name, node) => !(name === "open" && node.tagName === "DETAILS") },
    });
    this.region.classList.remove("stale");
    sayLive("on", "Live");
    showAround(this.region);
    tick();
  }

  lost() {
    this.region.classList.add("stale");
    sayLive("lost", "Connection lost – trying again");
  }
}

async function freeSlot() {
  if (!navigator.locks) return null;
  for (let index = 0; index < STREAMS_MAX; index++) {
    const release = await new Promise((resolve) => {
      navigator.locks.request(`holdfast-stream-${index}`, { ifAvailable: true }, (lock) => {
        if (!lock) { resolve(null); return undefined; }
        return new Promise((done) => resolve(done));
      }).catch(() => resolve(null));
    });
    if (release) return release;
  }
  return null;
}

function sayLive(state, text) {
  for (const place of all("[data-live-state]")) {
    if (place.textContent === text) continue;
    place.textContent = text;
    place.className = `live live-${state}`;
  }
}

function showAround(region) {
  const counts = one("[data-counts]", region)?.dataset;
  if (!counts) return;
  setClock(counts.now);
  for (const link of all(".nav a[data-count]")) {
    const value = Number(counts[link.dataset.count] ?? NaN); // none where it was never known
    const badge = one(".count", link);
    badge.hidden = value === 0 && !counts.old;
    badge.title = Number.isNaN(value) ? "unknown" : counts.old ?? "";
    badge.classList.toggle("old", Boolean(counts.old));
    badge.textContent = Number.isNaN(value) ? "?" : value.toLocaleString("en");
  }
}

// --- charts ---

const COLOURS = 6;
const AGAIN_MS = { "5m": 10000, "1h": 20000, "24h": 60000, "7d": 120000 };

function colour(name) {
  const probe = document.createElement("i");
  probe.style.color = `var(${name})`;
  document.body.append(probe);
  const found = getComputedStyle(probe).color;
  probe.remove();
  return found;
}

function figure(value) {
  if (value === null || value === undefined) return "–";
  if (Number.isInteger(value) || Math.abs(value) >= 100) return Math.round(value).toLocaleString("en");
  return value.toFixed(Math.abs(value) >= 0.1 ? 1 : 2);
}

function short(value) {
  return Math.abs(value) >= 10000 ? `${+(value / 1000).toFixed(1)}k` : value.toLocaleString("en");
}

function moment(at, step) {
  const date = new Date(at * 1000);
  if (step >= 86400) return date.toLocaleDateString([], { weekday: "short", day: "numeric" });
  return date.toLocaleTimeString([], { hour: "2-digit", minute: "2-digit", second: step < 60 ? "2-digit" : undefined, hourCycle: "h23" });
}

// A point without neighbours has no line: only these are drawn as dots.
function alone(plot, index, show) {
  const values = plot.data[index];
  const there = (at) => values[at] !== null && values[at] !== undefined;
  return show ? values.map((_, at) => at).filter((at) => there(at) && !there(at - 1) && !there(at + 1)) : null;
}

const TIMES = [1, 2, 5, 10, 15, 30, 60, 120, 180, 360, 720, 1440, 2880].map((minutes) => minutes * 60);
const WHOLE = [0, 1, 2, 3, 4, 5, 6, 7, 8].flatMap((power) => [1, 2, 5].map((step) => step * 10 ** power));

class Chart {
  constructor(element) {
    this.element = element;
    this.plotBox = one(".plot", element);
    this.unit = one(".unit", element);
    this.source = element.dataset.source ?? `/dashboard/data/${element.dataset.chart}.json`;
    new ResizeObserver(() => this.plot?.setSize(this.size())).observe(this.plotBox);
    document.addEventListener("holdfast:theme", () => this.draw());
    document.addEventListener("visibilitychange", () => document.hidden || this.load());
    this.load();
  }

  size() { return { width: this.plotBox.clientWidth, height: this.plotBox.clientHeight }; }

  async load() {
    clearTimeout(this.timer);
    const window_ = this.element.dataset.window;
    try {
      const answer = await fetch(`${this.source}?window=${encodeURIComponent(window_)}`);
      if (!answer.ok) throw new Error(answer.status);
      const found = await answer.json();
      if (window_ !== this.element.dataset.window) return;
      this.update(found, window_);
    } catch { /* the live part says what is wrong; the chart keeps what it has */ }
    if (!document.hidden) this.timer = setTimeout(() => this.load(), AGAIN_MS[window_] ?? 30000);
  }

  update(found, window_) {
    const same = this.plot && this.window === window_ && this.found.lines.length === found.lines.length;
    this.found = found;
    this.window = window_;
    if (same) { this.plot.setData(found.data); this.note(); this.legend(); } else this.draw();
  }

  draw() {
    if (!this.found) return;
    this.plot?.destroy();
    this.plotBox.replaceChildren();
    const whole = this.found.data.slice(1).flat().every((value) => value === null || Number.isInteger(value));
    const [text, line] = [colour("--muted"), colour("--line")];
    const axis = { stroke: text, grid: { stroke: line, width: 1 }, ticks: { show: false }, font: "11px system-ui, sans-serif" };
    this.plot = new uPlot({
      ...this.size(),
      padding: [8, 18, 0, 0],
      legend: { show: false },
      cursor: { y: false, sync: { key: "holdfast" }, points: { size: 6 }, drag: { setScale: false, x: false, y: false } },
      scales: { y: { range: (_plot, _low, high) => [0, high > 0 ? high * 1.1 : 1] } },
      axes: [
        { ...axis, grid: { show: false }, space: 40, size: 26, incrs: TIMES, values: (_plot, ticks, _axis, _space, step) => ticks.map((at) => moment(at, step)) },
        { ...axis, size: 46, gap: 4, values: (_plot, ticks) => ticks.map(short), ...(whole ? { incrs: WHOLE } : {}) },
      ],
      series: [
        {},
        ...this.found.lines.map((given) => ({
          label: given.label, stroke: colour(`--s${(given.colour - 1) % COLOURS + 1}`), width: 1.5, points: { size: 4, filter: alone }, paths: given.steps ? uPlot.paths.stepped({ align: 1 }) : undefined,
        })),
      ],
      hooks: { setCursor: [() => this.legend()] },
    }, this.found.data, this.plotBox);
    this.note();
    this.legend();
  }

  note() {
    one(".chart-empty", this.plotBox)?.remove();
    if (this.found.data.slice(1).some((values) => values.some((value) => value !== null))) return;
    const empty = document.createElement("p");
    empty.className = "chart-empty";
    empty.textContent = "Nothing in this time";
    this.plotBox.append(empty);
  }

  legend() {
    if (!this.plot) return;
    const index = this.plot.cursor.idx;
    const hovered = index !== null && index !== undefined;
    const values = this.found.data.slice(1).map((line) => (hovered ? line[index] : line.findLast((value) => value !== null)));
    one(".legend", this.element).replaceChildren(...this.found.lines.map((given, at) => {
      const item = document.createElement("li");
      const key = document.createElement("span");
      key.className = `key series-${given.colour}`;
      const value = document.createElement("b");
      value.className = "num";
      value.textContent = figure(values[at]);
      item.append(key, `${given.label} `, value);
      return item;
    }));
    const when = hovered ? new Date(this.found.data[0][index] * 1000).toLocaleString([], { dateStyle: "medium", timeStyle: "medium", hourCycle: "h23" }) : "";
    this.unit.textContent = when ? `${when} · ${this.found.unit}` : this.found.unit;
  }
}

function chooseWindow(event) {
  const choice = event.target.closest("a[data-window-choice]");
  if (!choice || event.metaKey || event.ctrlKey || event.shiftKey) return;
  event.preventDefault();
  for (const link of all("a[data-window-choice]")) link.setAttribute("aria-current", String(link === choice));
  for (const chart of charts) { chart.element.dataset.window = choice.dataset.windowChoice; chart.load(); }
  history.replaceState(null, "", choice.href);
}

// --- dialogs ---

async function openPanel(event) {
  const link = event.target.closest("a[data-dialog]");
  if (!link || event.metaKey || event.ctrlKey || event.shiftKey) return;
  event.preventDefault();
  try {
    const answer = await fetch(link.href);
    const page = new DOMParser().parseFromString(await answer.text(), "text/html");
    const body = one("[data-dialog-body]", page);
    if (!answer.ok || answer.redirected || !body) throw new Error(answer.status);
    const panel = one("#panel");
    panel.replaceChildren(...body.childNodes);
    panel.setAttribute("aria-label", one("h1, h2", panel)?.textContent ?? "");
    panel.showModal();
    one("[autofocus]", panel)?.focus();
  } catch { location.assign(link.href); }
}

function closePanel(event) {
  const dialog = event.target.closest("dialog");
  if (event.target.closest("[data-close]") && dialog) { event.preventDefault(); dialog.close(); }
  if (event.target === dialog) dialog.close(); // beside it
}

function confirmFirst(event) {
  const form = event.target;
  if (!form.dataset?.confirmTitle || form.dataset.confirmed) return;
  event.preventDefault();
  const dialog = one("#confirm");
  for (const part of ["title", "text", "no", "yes"]) {
    one(`[data-confirm-${part}]`, dialog).textContent = form.getAttribute(`data-confirm-${part}`);
  }
  dialog.returnValue = "no";
  dialog.onclose = () => {
    if (dialog.returnValue !== "yes") return;
    form.dataset.confirmed = "yes";
    form.requestSubmit(event.submitter);
    delete form.dataset.confirmed;
  };
  dialog.showModal();
}

function onceOnly(event) {
  if (event.defaultPrevented || event.target.method !== "post") return;
  // After the browser has read the form: a disabled button's value is not sent.
  setTimeout(() => { for (const button of all("button", event.target)) button.disabled = true; });
}

// --- keys ---

let leader = 0;

function onKey(event) {
  if (event.ctrlKey || event.metaKey || event.altKey || event.isComposing) return;
  if (event.target.closest?.("input, select, textarea, [contenteditable]") || one("dialog[open]")) return;
  const led = Date.now() - leader < 1500;
  leader = 0;
  if (led) {
    const link = one(`.nav a[data-key="${CSS.escape(event.key)}"]`);
    if (link) { event.preventDefault(); location.assign(link.href); }
  } else if (event.key === "g") leader = Date.now();
  else if (event.key === "t") switchTheme();
  else if (event.key === "?") { event.preventDefault(); one("#help").showModal(); }
  else if (event.key === "/") {
    event.preventDefault();
    const search = all("[data-search-all]").find((box) => box.checkVisibility());
    if (search) { search.focus(); search.select(); }
  }
}

// --- together ---

let charts = [];

document.addEventListener("click", (event) => {
  openPanel(event);
  closePanel(event);
  chooseWindow(event);
  if (event.target.closest("[data-theme-toggle]")) switchTheme();
  if (event.target.closest("[data-help]")) one("#help").showModal();
});
document.addEventListener("submit", (event) => { confirmFirst(event); onceOnly(event); });
document.addEventListener("keydown", onKey);
addEventListener("pageshow", (event) => { if (event.persisted) for (const button of all("form button")) button.disabled = false; });
// What an action has changed: the page that follows it, or its outcome when it comes, says so.
document.addEventListener("htmx:load", (event) => showAround(event.detail.elt));
document.addEventListener("htmx:configRequest", (event) => {
  event.detail.headers["X-CSRF-Token"] = one("meta[name=csrf-token]").content;
});

setClock(one("meta[name=server-time]")?.content);
setInterval(tick, 1000);
tick();
if (window.uPlot) charts = all("figure[data-chart]").map((element) => new Chart(element));
const region = one("[data-live]");
if (region && window.Idiomorph) new Live(region);
