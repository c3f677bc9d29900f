
// Scales, axes, the learning curves and the plot of quality against cost.
const HEIGHT = 380;
const MARGIN = { left: 66, right: 20, top: 14, bottom: 44 };

function scale(low, high, from, to, isLog) {
  const warp = isLog ? Math.log10 : (value) => value;
  const [start, span] = [warp(low), warp(high) - warp(low) || 1];
  const at = (value) => from + ((warp(value) - start) / span) * (to - from);
  return Object.assign(at, { low, high, isLog, ticks: ticks(low, high, isLog) });
}

function ticks(low, high, isLog) {
  if (isLog && high / low >= 8) {
    const found = [];
    for (let power = Math.floor(Math.log10(low)); power <= Math.log10(high); power += 1)
      for (const part of high / low > 1000 ? [1] : [1, 2, 5]) found.push(part * 10 ** power);
    return found.filter((value) => value >= low && value <= high);
  }
  const rough = (high - low) / 6 || 1;
  const unit = 10 ** Math.floor(Math.log10(rough));
  const step = unit * [1, 2, 5, 10].find((part) => part * unit >= rough);
  const found = [];
  for (let place = Math.ceil(low / step); place * step <= high + step * 1e-9; place += 1) found.push(+(place * step).toPrecision(12));
  return found;
}

// A little room on both sides, so that nothing lies on an edge.
function widened(low, high, isLog, part = 0.05) {
  if (isLog) {
    const factor = (high / low) ** part || 1;
    return low === high ? [low / 2, high * 2] : [low / factor, high * factor];
  }
  const room = (high - low) * part || Math.abs(high) * part || 1;
  return [low - room, high + room];
}

function frame(place, title, xTitle, yTitle, xRange, yRange, xIsLog, yIsLog) {
  const width = Math.max(place.clientWidth, 420);
  const x = scale(...xRange, MARGIN.left, width - MARGIN.right, xIsLog);
  const y = scale(...yRange, HEIGHT - MARGIN.bottom, MARGIN.top, yIsLog);
  const [left, right, bottom] = [MARGIN.left, width - MARGIN.right, HEIGHT - MARGIN.bottom];
  const svg = draw("svg", { viewBox: `0 0 ${width} ${HEIGHT}`, role: "img", "aria-label": title });
  for (const value of y.ticks) {
    svg.append(draw("line", { class: "grid", x1: left, x2: right, y1: y(value), y2: y(value) }));
    svg.append(draw("text", { x: left - 8, y: y(value) + 4, "text-anchor": "end" }, number(value)));
  }
  let last = -Infinity;
  for (const value of x.ticks) {
    svg.append(draw("line", { class: "axis", x1: x(value), x2: x(value), y1: bottom, y2: bottom + 4 }));
    if (x(value) - last < 52) continue; // its number would run into the one before
    last = x(value);
    svg.append(draw("text", { x: x(value), y: bottom + 18, "text-anchor": "middle" }, number(value)));
  }
  svg.append(draw("line", { class: "axis", x1: left, x2: right, y1: bottom, y2: bottom }));
  svg.append(draw("text", { class: "quiet", x: (left + right) / 2, y: HEIGHT - 6, "text-anchor": "middle" }, xTitle));
  const middle = (MARGIN.top + bottom) / 2;
  svg.append(draw("text", { class: "quiet", x: 14, y: middle, "text-anchor": "middle", transform: `rotate(-90 14 ${middle})` }, yTitle));
  place.replaceChildren(svg);
  return { svg, x, y, width };
}

const path = (points) => points.map(([x, y], place) => `${place ? "L" : "M"}${x.toFixed(1)} ${y.toFixed(1)}`).join("");

const CURVES = { hidden: new Set(), at: null, isLogX: false, isLogY: false };

function drawCurves() {
  const all = GROUPS.filter((group) => group.curve);
  const shown = all.filter((group) => !CURVES.hidden.has(group.place));
  const of = shown.length ? shown : all;
  const recorded = of.flatMap((group) => group.curve.steps);
  const canLogX = CURVES.isLogX && greatest(recorded) > 0;
  const steps = recorded.filter((step) => step > 0 || !canLogX);
  const values = of.flatMap((group) => [...group.curve.low, ...group.curve.high]);
  const canLog = CURVES.isLogY && least(values) > 0;
  const { svg, x, y } = frame(
    byId("curves"), `Learning curves of ${RESULT.live}`, "step", RESULT.live,
    [least(steps), greatest(steps)], widened(least(values), greatest(values), canLog),
    canLogX, canLog,
  );
  for (const group of shown) drawCurve(svg, group, x, y);
  const cursor = draw("g");
  svg.append(cursor);
  filled(svg, { tabindex: "0" }, []);
  const known = [...new Set(steps)].sort((one, other) => one - other);
  const show = (event) => showValues(event, cursor, shown, known[CURVES.at], x, y);
  svg.addEventListener("pointermove", (event) => {
    const own = svg.getBoundingClientRect();
    const asked = (event.clientX - own.left) * (svg.viewBox.baseVal.width / own.width);
    CURVES.at = known.reduce((best, step, place) =>
      Math.abs(x(step) - asked) < Math.abs(x(known[best]) - asked) ? place : best, 0);
    show(event);
  });
  const leave = () => { cursor.replaceChildren(); hideTip(); };
  svg.addEventListener("pointerleave", leave);
  svg.addEventListener("blur", leave);
  svg.addEventListener("keydown", (event) => {
    const by = { ArrowLeft: -1, ArrowRight: 1 }[event.key];
    if (!by) return;
    event.preventDefault();
    CURVES.at = Math.max(0, Math.min(known.length - 1, (CURVES.at ?? (by > 0 ? -1 : known.length)) + by));
    const own = svg.getBoundingClientRect();
    const left = own.left + x(known[CURVES.at]) * (own.width / svg.viewBox.baseVal.width);
    show({ pageX: left + window.scrollX, pageY: own.top + window.scrollY + 20 });
  });
}

function drawCurve(svg, group, x, y) {
  const { steps, mean, low, high } = group.curve;
  const points = steps.map((step, place) => [step, place]).filter(([step]) => step > 0 || !x.isLog);
  const along = (values) => points.map(([step, place]) => [x(step), y(values[place])]);
  const part = draw("g", { class: colour(group.place) });
  part.append(draw("path", { class: "band", d: `${path([...along(high), ...along(low).reverse()])}Z` }));
  part.append(draw("path", { class: "line", d: path(along(mean)), "stroke-dasharray": dashes(group.place) }));
  if (points.length < 30) for (const [cx, cy] of along(mean)) part.append(draw("circle", { class: "dot", cx, cy, r: 3.5 }));
  svg.append(part);
}

function showValues(event, cursor, shown, step, x, y) {
  cursor.replaceChildren(
    draw("line", { class: "cursor", x1: x(step), x2: x(step), y1: MARGIN.top, y2: HEIGHT - MARGIN.bottom }),
  );
  const found = shown
    .map((group) => [group, group.curve.steps.indexOf(step)])
    .filter(([, place]) => place >= 0)
    .map(([group, place]) => [group, group.curve.mean[place], group.curve.low[place], group.curve.high[place]])
    .sort((one, other) => (RESULT.greater_is_better ? -1 : 1) * (one[1] - other[1]));
  const lines = found.slice(0, 16).map(([group, mean, low, high]) => {
    const spread = low === high ? "" : ` (${number(low)} to ${number(high)})`;
    return [swatch(group.name), `${group.name}: ${number(mean)}${spread}`];
  });
  showTip(event, [`step ${step.toLocaleString("en")}`, ...lines]);
}

const COSTS = [
  ["seconds", "time of training", "seconds"],
  ["tokens", "tokens trained on", "tokens"],
  ["parameters", "parameters", "parameters"],
  ["flops", "FLOPs", "FLOPs"],
  ["peak_memory_bytes", "peak memory", "bytes"],
];
const hasCost = (field) => GROUPS.some((group) => group.cost[field] !== null);

function frontOf(points) {
  const sign = RESULT.greater_is_better ? 1 : -1;
  return points.filter((own) => !points.some((other) => {
    const [cheap, good] = [other.cost <= own.cost, sign * other.mean >= sign * own.mean];
    return cheap && good && (other.cost < own.cost || other.mean !== own.mean);
  }));
}

function drawPareto(field) {
  const points = GROUPS.filter((group) => group.cost[field] !== null).map((group) => ({
    ...group, cost: group.cost[field], mean: group.aggregate.mean,
    low: least(group.figures), high: greatest(group.figures),
  }));
  const costs = points.map((point) => point.cost);
  const [lowest, highest] = [least(costs), greatest(costs)];
  const isLog = lowest > 0 && highest / lowest > 20;
  const [, title, unit] = COSTS.find(([name]) => name === field);
  const { svg, x, y, width } = frame(
    byId("pareto"), `${RESULT.figure} against ${title}`, title === unit ? title : `${title}, ${unit}`, RESULT.figure,
    widened(lowest, highest, isLog, 0.08),
    widened(least(points.map((own) => own.low)), greatest(points.map((own) => own.high)), false), isLog, false,
  );
  const fronts = BASELINES.map((baseline) =>
    frontOf(points.filter((point) => point.baseline === baseline && !point.mismatches.length)).sort((one, other) => one.cost - other.cost));
  for (const own of fronts) svg.append(draw("path", { class: "front", d: path(own.map((point) => [x(point.cost), y(point.mean)])) }));
  const front = fronts.flat();
  for (const point of points) drawPoint(svg, point, x(point.cost), y, front.includes(point), unit);
  if (points.length <= 12) nameThem(svg, points, x, y, width);
  byId("pareto-front").textContent = `On the front, marked with a ring: ${front.map((own) => own.name).join("; ") || "none"}.`;
}

function drawPoint(svg, point, cx, y, isFront, unit) {
  const part = draw("g", { class: `${colour(point.place)} point` });
  part.append(draw("line", { class: "whisker", x1: cx, x2: cx, y1: y(point.low), y2: y(point.high) }));
  part.append(draw("circle", { class: point.mismatches.length ? "hollow" : "dot", cx, cy: y(point.mean), r: 5.5 }));
  if (isFront) part.append(draw("circle", { class: "ring", cx, cy: y(point.mean), r: 9.5 }));
  const lines = [point.name, `${RESULT.figure} ${number(point.mean)}, n = ${point.aggregate.n}`, `${number(point.cost)} ${unit}`];
  part.addEventListener("pointermove", (event) => showTip(event, lines));
  part.addEventListener("pointerleave", hideTip);
  svg.append(part);
}

// Names beside points: to the left in the right half; moved down where one would cover another.
function nameThem(svg, points, x, y, width) {
  const taken = [];
  for (const point of [...points].sort((one, other) => y(one.mean) - y(other.mean))) {
    const isRight = x(point.cost) > width * 0.6;
    const left = x(point.cost) + (isRight ? -14 : 14);
    const reach = 6.4 * point.name.length;
    const span = isRight ? [left - reach, left] : [left, left + reach];
    let top = y(point.mean) + 4;
    while (taken.some(([start, end, at]) => start < span[1] && end > span[0] && Math.abs(at - top) < 14)) top += 4;
    taken.push([...span, top]);
    const mark = point.mismatches.length ? "†" : "";
    svg.append(draw("text", { class: "halo", x: left, y: top, "text-anchor": isRight ? "end" : "start" }, point.name + mark));
  }
}
