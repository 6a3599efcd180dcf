"use strict";
// Curves of what opened sums say of held-out units: the value, and as a band two standard deviations of its noise to both sides.

const KINDS = [["loss", "loss"], ["perplexity", "perplexity"], ["accuracy", "accuracy"], ["macro_accuracy", "macro accuracy"],
  ["macro_f1", "macro F1"], ["auroc", "AUROC"]];
const [WIDTH, HEIGHT, LEFT, RIGHT, TOP, BOTTOM] = [320, 170, 44, 10, 10, 24];
const BAND = 2;

function shape(kind, attributes, text) {
  const element = document.createElementNS("http://www.w3.org/2000/svg", kind);
  for (const [name, value] of Object.entries(attributes)) element.setAttribute(name, value);
  if (text !== undefined) element.textContent = text;
  return element;
}

const digits = (value) => Math.abs(value) >= 100 ? value.toFixed(0) : value.toFixed(3);
const noisy = (estimate) => estimate ? `${digits(estimate.value)} ± ${digits(BAND * estimate.deviation)}` : "drowns in the noise";

// Rounds in a row that have a value: where one drowns in the noise, the curve breaks off.
function runs(points, key) {
  const all = [[]];
  for (const point of points) {
    if (point[key]) all[all.length - 1].push(point);
    else all.push([]);
  }
  return all.filter((run) => run.length);
}

function chart(key, name, points, rounds) {
  const shown = points.filter((point) => point[key]);
  const low = (point) => point[key].value - BAND * point[key].deviation;
  const high = (point) => point[key].value + BAND * point[key].deviation;
  let [bottom, top] = [Math.min(...shown.map(low)), Math.max(...shown.map(high))];
  if (top - bottom < 1e-9) [bottom, top] = [bottom - 0.5, top + 0.5];
  const x = (round) => LEFT + (WIDTH - LEFT - RIGHT) * (rounds > 1 ? (round - 1) / (rounds - 1) : 0.5);
  const y = (value) => HEIGHT - BOTTOM - (HEIGHT - TOP - BOTTOM) * (value - bottom) / (top - bottom);
  const spot = (round, value) => `${x(round).toFixed(1)},${y(value).toFixed(1)}`;
  const last = shown[shown.length - 1];
  const [titled, told] = [`curve-${key}-title`, `curve-${key}-text`];
  const svg = shape("svg", { viewBox: `0 0 ${WIDTH} ${HEIGHT}`, role: "img", "aria-labelledby": `${titled} ${told}` });
  svg.append(
    shape("title", { id: titled }, `${name} by round`),
    shape("desc", { id: told }, `${shown.length} noisy estimates; the last, of round ${last.round}, is ${noisy(last[key])}. The table below has all.`),
    shape("path", { class: "axis", d: `M${LEFT},${TOP}V${HEIGHT - BOTTOM}H${WIDTH - RIGHT}` }));
  for (const value of [bottom, top]) {
    svg.append(shape("text", { x: LEFT - 4, y: y(value) + 4, "text-anchor": "end" }, digits(value)));
  }
  for (const [round, anchor] of rounds > 1 ? [[1, "start"], [rounds, "end"]] : [[1, "middle"]]) {
    svg.append(shape("text", { x: x(round), y: HEIGHT - 8, "text-anchor": anchor }, round));
  }
  for (const run of runs(points, key)) {
    const edge = [...run.map((point) => spot(point.round, high(point))), ...run.toReversed().map((point) => spot(point.round, low(point)))];
    // A single round has no area: its noise is a line.
    if (run.length > 1) svg.append(shape("polygon", { class: "band", points: edge.join(" ") }));
    else svg.append(shape("polyline", { class: "axis", points: edge.join(" ") }));
    svg.append(shape("polyline", { class: "curve", points: run.map((point) => spot(point.round, point[key].value)).join(" ") }));
  }
  for (const point of shown) {
    const dot = shape("circle", { class: "point", cx: x(point.round).toFixed(1), cy: y(point[key].value).toFixed(1), r: 2.5 });
    dot.append(shape("title", {}, `round ${point.round}: ${noisy(point[key])}`));
    svg.append(dot);
  }
  const figure = document.createElement("figure");
  const caption = document.createElement("figcaption");
  caption.textContent = name;
  figure.append(caption, svg);
  return figure;
}

let drawn = "";

function showMetrics(metrics, rounds) {
  // Only when something is new: a reader who is in the middle of it is not thrown out.
  const now = JSON.stringify([metrics, rounds]);
  if (now === drawn) return;
  drawn = now;
  const band = metrics.points.length ? ` Bands and ±: ${BAND} standard deviations of that noise; how few units are held out adds to it.` : "";
  say("metrics-note", `${metrics.note}.${band}`);
  const kinds = KINDS.filter(([key]) => metrics.points.some((point) => point[key]));
  at("charts").replaceChildren(...kinds.map(([key, name]) => chart(key, name, metrics.points, rounds)));
  at("metrics-table").hidden = !metrics.points.length;
  at("metrics-head").replaceChildren(...["round", "houses", "held-out units", ...kinds.map(([, name]) => name)].map((name) => {
    const head = document.createElement("th");
    head.scope = "col";
    head.textContent = name;
    return head;
  }));
  at("metrics-rows").replaceChildren(...metrics.points.map((point) => row([
    point.round, point.houses, point.units ? `about ${Math.max(0, point.units.value).toFixed(0)}` : "", ...kinds.map(([key]) => noisy(point[key]))])));
}
