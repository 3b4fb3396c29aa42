// Copyright 2026 The Authors.
// Distributed under the Boost Software License, Version 1.0.

#pragma once

#include <string_view>

namespace asynchronous_processing {

/// The page of the program: all of it, TOKEN to be replaced.
inline constexpr std::string_view page = R"page(<!doctype html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<title>Worker processes behind an event loop</title>
<link rel="icon" href="data:,">
<style>
:root {
  color-scheme: light dark;
  --paper: #f3f4f8; --card: #ffffff; --ink: #1a1d2b; --soft: #666c82;
  --line: #dcdfe9; --accent: #4353d8; --on-accent: #ffffff;
  --run: #0b8457; --idle: #8a90a6; --gone: #c62f45; --veil: #ffffffd9;
}
@media (prefers-color-scheme: dark) {
  :root {
    --paper: #0f111a; --card: #181b28; --ink: #e9ebf5; --soft: #979db5;
    --line: #2b3044; --accent: #8e9bff; --on-accent: #10121c;
    --run: #3ddc97; --idle: #6b7188; --gone: #ff6f83; --veil: #181b28d9;
  }
}
* { box-sizing: border-box; margin: 0; }
html, body { height: 100%; }
body {
  font: 15px/1.45 system-ui, -apple-system, "Segoe UI", Roboto, sans-serif;
  background: var(--paper); color: var(--ink);
  display: grid; grid-template: 100% / minmax(0, 1fr) 23rem;
}
#map {
  position: relative; overflow: hidden; background: #05060c;
  touch-action: none; cursor: grab; user-select: none; outline-offset: -3px;
}
#map.held { cursor: grabbing; }
#map img {
  position: absolute; width: 256px; height: 256px; transform-origin: 0 0;
  opacity: 0; transition: opacity .18s; pointer-events: none;
  max-width: none;
}
#map img.here { opacity: 1; }
#where {
  position: absolute; z-index: 3; left: 14px; bottom: 14px;
  padding: 5px 11px;
  border-radius: 9px; background: var(--veil); color: var(--ink);
  font: 12px/1.5 ui-monospace, Menlo, Consolas, monospace;
  pointer-events: none; backdrop-filter: blur(6px);
}
#pad {
  position: absolute; z-index: 3; right: 14px; bottom: 14px;
  display: grid; gap: 6px;
  grid-template-columns: repeat(3, 40px);
}
#pad button { height: 40px; font-size: 18px; padding: 0;
  background: var(--veil); backdrop-filter: blur(6px); }
button {
  font: inherit; color: var(--ink); background: var(--card);
  border: 1px solid var(--line); border-radius: 10px; cursor: pointer;
}
button:hover { border-color: var(--accent); }
:focus-visible { outline: 2px solid var(--accent); outline-offset: 2px; }
aside {
  overflow-y: auto; padding: 22px 20px; border-left: 1px solid var(--line);
}
h1 { font-size: 19px; letter-spacing: -.01em; line-height: 1.25; }
h1 + p { color: var(--soft); margin: 6px 0 16px; font-size: 14px; }
#figures { display: grid; grid-template-columns: repeat(3, 1fr); gap: 8px; }
#figures div, .worker {
  background: var(--card); border: 1px solid var(--line); border-radius: 12px;
}
#figures div { padding: 9px 11px; }
#figures b {
  display: block; font-size: 20px; letter-spacing: -.02em;
  font-variant-numeric: tabular-nums; line-height: 1.2;
}
#figures span { color: var(--soft); font-size: 12px; }
#chart { display: block; width: 100%; height: 46px; margin: 12px 0 4px; }
#chart path { fill: none; stroke: var(--accent); stroke-width: 1.6;
  vector-effect: non-scaling-stroke; stroke-linejoin: round; }
h2 { font-size: 13px; color: var(--soft); font-weight: 600;
  margin: 14px 0 8px; }
#workers { display: grid; gap: 8px; list-style: none; padding: 0; }
.worker { padding: 11px 12px; display: grid; gap: 3px 10px;
  grid-template-columns: auto 1fr auto; align-items: center; }
.worker i { width: 9px; height: 9px; border-radius: 50%;
  background: var(--idle); }
.worker.running i { background: var(--run);
  box-shadow: 0 0 0 4px color-mix(in srgb, var(--run) 22%, transparent); }
.worker.gone i { background: var(--gone); }
.worker strong { font-weight: 600; font-variant-numeric: tabular-nums; }
.worker button { padding: 3px 12px; font-size: 13px; color: var(--gone); }
.worker button:hover { border-color: var(--gone); }
.worker .what { grid-column: 2 / 4; color: var(--soft); font-size: 13px;
  white-space: nowrap; overflow: hidden; text-overflow: ellipsis; }
.worker .life { grid-column: 2 / 4; color: var(--soft); font-size: 12px;
  font-variant-numeric: tabular-nums; }
#state { color: var(--soft); font-size: 12px; margin-top: 14px; }
@media (max-width: 760px) {
  html, body { height: auto; }
  body { display: block; }
  #map { height: 58vh; height: 58svh; }
  aside { border-left: 0; border-top: 1px solid var(--line); padding: 16px; }
}
@media (prefers-reduced-motion: reduce) { #map img { transition: none; } }
</style>
</head>
<body>
<main id="map" tabindex="0" role="application"
  aria-label="Mandelbrot set: arrow keys move, plus and minus zoom, 0 resets">
  <div id="where" aria-live="off"></div>
  <div id="pad" role="group" aria-label="Move and zoom">
    <button data-do="in" aria-label="zoom in">+</button>
    <button data-do="up" aria-label="move up">&uarr;</button>
    <button data-do="out" aria-label="zoom out">&minus;</button>
    <button data-do="left" aria-label="move left">&larr;</button>
    <button data-do="home" aria-label="show all">&#8962;</button>
    <button data-do="right" aria-label="move right">&rarr;</button>
    <span></span>
    <button data-do="down" aria-label="move down">&darr;</button>
    <span></span>
  </div>
</main>
<aside>
  <h1>Worker processes behind an event loop</h1>
  <p>Each tile is computed by a process of its own crew, and awaited by a
  coroutine. Kill a worker: it is replaced, its tile is computed again.</p>
  <div id="figures">
    <div><b id="rate">0</b><span>tiles / s</span></div>
    <div><b id="queue">0</b><span>queued</span></div>
    <div><b id="restarts">0</b><span>restarts</span></div>
  </div>
  <svg id="chart" viewBox="0 0 119 40" preserveAspectRatio="none"
    role="img" aria-label="tiles per second, the last minute"><path/></svg>
  <h2>Workers</h2>
  <ul id="workers"></ul>
  <p id="state">connecting</p>
</aside>
<script>
'use strict';
const token = 'TOKEN', size = 256, deepest = 40;
const $ = id => document.getElementById(id), map = $('map');
// The picture is a square of side 1; `at` is its point in the middle.
const home = () => ({x: .5, y: .5, z: Math.log2(
  Math.max(.5, Math.min(map.clientWidth, map.clientHeight) / size))});
let at, tiles = new Map(), drawing = false;

function place() {
  drawing = false;
  const w = map.clientWidth, h = map.clientHeight;
  const z = Math.max(0, Math.min(deepest, Math.round(at.z)));
  const n = 2 ** z, scale = 2 ** at.z / n, side = size * scale;
  const left = at.x * n - w / 2 / side, top = at.y * n - h / 2 / side;
  const wanted = new Set();
  for (let y = Math.max(0, Math.floor(top));
       y <= Math.min(n - 1, Math.floor(top + h / side)); ++y)
    for (let x = Math.max(0, Math.floor(left));
         x <= Math.min(n - 1, Math.floor(left + w / side)); ++x)
      wanted.add(`${z}/${x}/${y}`);
  for (const name of wanted)
    if (!tiles.has(name)) load(name);
  let complete = true;
  for (const name of wanted)
    complete = complete && tiles.get(name).className === 'here';
  for (const [name, image] of tiles) {
    const [tz, tx, ty] = name.split('/').map(Number);
    const grow = 2 ** (at.z - tz), f = size * grow;
    const px = (tx - at.x * 2 ** tz) * f + w / 2;
    const py = (ty - at.y * 2 ** tz) * f + h / 2;
    const far = px > w || py > h || px + f < 0 || py + f < 0;
    const old = tz !== z && (complete || image.className !== 'here');
    if ((far || old) && !wanted.has(name)) { // a request is given up with it
      image.onload = image.onerror = null;
      image.src = 'data:,';
      image.remove();
      tiles.delete(name);
      continue;
    }
    image.style.zIndex = tz === z ? 2 : 1;
    const [l, t] = [Math.round(px), Math.round(py)]; // no seam between two
    image.style.transform = `translate(${l}px,${t}px) ` +
      `scale(${(Math.round(px + f) - l) / size},` +
      `${(Math.round(py + f) - t) / size})`;
  }
  const s = 3 / 2 ** at.z;
  $('where').textContent = `${(at.x * 3 - 2.25).toPrecision(8)} ` +
    `${at.y < .5 ? '+' : '-'} ${Math.abs(1.5 - at.y * 3).toPrecision(8)}i` +
    `   x${Math.max(1, 3 / s).toPrecision(3)}`;
}
function draw() {
  if (!drawing) { drawing = true; requestAnimationFrame(place); }
}
function load(name, tries = 0) {
  const image = new Image();
  image.alt = '';
  image.decoding = 'async';
  image.onload = () => { image.className = 'here'; draw(); };
  image.onerror = () => setTimeout(() => { // the server is busy, or restarts
    if (tiles.get(name) === image)
      image.src = `/tile/${name}.png?try=${++tries}`;
  }, 400 * 2 ** Math.min(tries, 5));
  image.src = `/tile/${name}.png`;
  tiles.set(name, image);
  map.prepend(image);
}
function zoom(by, x = map.clientWidth / 2, y = map.clientHeight / 2) {
  const z = Math.max(-1, Math.min(deepest, at.z + by));
  const dx = x - map.clientWidth / 2, dy = y - map.clientHeight / 2;
  at.x += dx / size * (2 ** -at.z - 2 ** -z);
  at.y += dy / size * (2 ** -at.z - 2 ** -z);
  at.z = z;
  draw();
}
function pan(dx, dy) {
  const f = size * 2 ** at.z;
  at.x = Math.max(0, Math.min(1, at.x + dx / f));
  at.y = Math.max(0, Math.min(1, at.y + dy / f));
  draw();
}
const deeds = {
  in: () => zoom(1), out: () => zoom(-1), home: () => { at = home(); draw(); },
  left: () => pan(-120, 0), right: () => pan(120, 0),
  up: () => pan(0, -120), down: () => pan(0, 120),
};
const keys = {
  '+': 'in', '=': 'in', '-': 'out', '0': 'home', ArrowLeft: 'left',
  ArrowRight: 'right', ArrowUp: 'up', ArrowDown: 'down',
};
map.addEventListener('keydown', e => {
  if (keys[e.key] && !e.ctrlKey && !e.metaKey) {
    e.preventDefault();
    deeds[keys[e.key]]();
  }
});
$('pad').addEventListener('click', e => {
  const what = e.target.dataset.do;
  if (what) deeds[what]();
});
map.addEventListener('wheel', e => {
  e.preventDefault();
  zoom(-e.deltaY / (e.deltaMode ? 12 : 360), e.offsetX, e.offsetY);
}, {passive: false});
map.addEventListener('dblclick', e => zoom(1, e.offsetX, e.offsetY));
const fingers = new Map();
map.addEventListener('pointerdown', e => {
  if (e.target.closest('#pad')) return;
  map.setPointerCapture(e.pointerId);
  fingers.set(e.pointerId, [e.clientX, e.clientY]);
  map.className = 'held';
});
map.addEventListener('pointermove', e => {
  const before = fingers.get(e.pointerId);
  if (!before) return;
  const other = [...fingers].find(([id]) => id !== e.pointerId);
  const now = [e.clientX, e.clientY];
  if (other) {
    const far = p => Math.hypot(p[0] - other[1][0], p[1] - other[1][1]);
    const box = map.getBoundingClientRect();
    zoom(Math.log2(Math.max(1, far(now)) / Math.max(1, far(before))),
      (now[0] + other[1][0]) / 2 - box.left,
      (now[1] + other[1][1]) / 2 - box.top);
  } else
    pan(before[0] - now[0], before[1] - now[1]);
  fingers.set(e.pointerId, now);
});
for (const end of ['pointerup', 'pointercancel'])
  map.addEventListener(end, e => {
    fingers.delete(e.pointerId);
    if (!fingers.size) map.className = '';
  });
new ResizeObserver(() => { at = at || home(); draw(); }).observe(map);

const span = ms => ms < 1e3 ? `${ms} ms` : ms < 6e4 ?
  `${(ms / 1e3).toFixed(1)} s` : ms < 36e5 ? `${Math.floor(ms / 6e4)} min` :
  `${Math.floor(ms / 36e5)} h`;
function card(id) {
  let one = $('worker-' + id);
  if (one) return one;
  one = document.createElement('li');
  one.id = 'worker-' + id;
  one.innerHTML = '<i></i><strong></strong><button>kill</button>' +
    '<span class="what"></span><span class="life"></span>';
  const button = one.querySelector('button');
  button.setAttribute('aria-label', `kill worker ${id}`);
  button.onclick = async () => {
    button.disabled = true;
    try {
      await fetch(`/workers/${id}/kill`,
        {method: 'POST', headers: {'X-Token': token}});
    } finally { button.disabled = false; }
  };
  $('workers').append(one);
  return one;
}
const past = [];
function show(now) {
  $('rate').textContent = now.rate.toFixed(now.rate < 10 ? 1 : 0);
  $('queue').textContent = now.queued;
  $('restarts').textContent = now.restarts;
  past.push(now.rate);
  if (past.length > 120) past.shift();
  const most = Math.max(1, ...past);
  $('chart').firstChild.setAttribute('d', past.map((r, i) =>
    `${i ? 'L' : 'M'}${i + 120 - past.length} ${38 - r / most * 36}`).join(''));
  for (const w of now.workers) {
    const one = card(w.id), text = (name, value) => {
      const part = one.querySelector(name);
      if (part.textContent !== value) part.textContent = value;
    };
    one.className = `worker ${w.state}`;
    text('strong', w.pid ? `process ${w.pid}` : 'starting again');
    text('.what', w.task ? `${w.task}, for ${span(w.running)}` : w.state);
    text('.life', `${w.done} done, ${w.restarts} restarts, ` +
      `${span(w.age)} old`);
  }
}
const events = new EventSource('/events');
events.onopen = () => { $('state').textContent = 'live'; };
events.onerror = () => { $('state').textContent = 'no connection; trying'; };
events.onmessage = e => show(JSON.parse(e.data));
</script>
</body>
</html>
)page";

} // namespace asynchronous_processing
