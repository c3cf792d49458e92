// The timeline: hosts by time, laid out, pointed at, zoomed.
const LANE = 9, GAP = 7, LABEL = 170, HEAD = 22; // pixels
const COLORS = {
  stopped_clean: "clean", started: "clean", stopped_forced: "forced", stopped_cold: "cold", already_stopped: "already",
  already_running: "already", migrated: "moved", came_back: "back", failed: "failed", unknown: "unknown", [FLYING]: "flying",
};
const DEEDS = { done: "host", already: "host", failed: "failed", not_empty: "failed", came_back: "failed", unknown: "unknown" };
const AFTERWARDS = { disable: "host disabled", empty: "host empty", maintain: "host in maintenance", enable: "host enabled" };
const timeline = find("#timeline"), chart = find(".chart", timeline), sheet = find(".sheet", timeline);
const canvas = find("canvas", timeline), brush = canvas.getContext("2d");
let hosts = [], height = 0, left = 0, right = 1, zoom = 1, palette = {};

function layOut() {
  const byHost = new Map();
  for (const vm of vms) {
    if (vm.from === null) continue;
    const name = vm.host ?? "no host";
    if (!byHost.has(name)) byHost.set(name, []);
    byHost.get(name).push(vm);
  }
  const rest = new Map(data.rest.filter((part) => part.from !== null).map((part) => [part.host, part]));
  const acted = new Map(data.hosts.map((host) => [host.name, { host, marks: marksOf(host) }]).filter(([, one]) => one.marks.length));
  const names = [...new Set([...byHost.keys(), ...rest.keys(), ...acted.keys()])].sort(compared);
  height = HEAD;
  hosts = names.map((name) => {
    const spans = (byHost.get(name) ?? []).sort((one, other) => one.from - other.from), ends = [];
    const { marks = [], host: itself = null } = acted.get(name) ?? {}, strip = marks.length ? 1 : 0; // above its VMs
    const laid = spans.map((vm) => {
      const until = Math.max(vm.to ?? data.to ?? data.now ?? vm.from, vm.from);
      let lane = ends.findIndex((end) => end <= vm.from);
      if (lane < 0) lane = ends.push(0) - 1;
      ends[lane] = until;
      return { vm, lane: lane + strip, from: vm.from, to: until };
    });
    const other = rest.get(name) ?? null, own = ends.length + strip, lanes = Math.max(1, own + (other ? 1 : 0));
    const host = { name, laid, other, top: height, lanes, own, marks, itself };
    height += Math.max(lanes * LANE, 12) + GAP;
    return host;
  });
  const moments = [0, data.to, data.now ?? null];
  for (const host of hosts) {
    for (const span of host.laid) moments.push(span.from, span.to);
    if (host.other) moments.push(host.other.from, host.other.to);
    for (const mark of host.marks) moments.push(mark.from, mark.at);
  }
  const known = moments.filter((value) => value !== null);
  left = known.reduce((a, b) => Math.min(a, b), 0);
  right = known.reduce((a, b) => Math.max(a, b), 1);
  const room = right - left; // the window's edges where they are near; far ones would leave no room for the run
  for (const edge of [data.window?.from, data.window?.to]) {
    if (edge !== undefined && edge !== null && edge > left - room && edge < right + room) {
      left = Math.min(left, edge - room * 0.01);
      right = Math.max(right, edge + room * 0.01);
    }
  }
}

function marksOf(host) { // what was done to it by time; what it has entered lasts to the end
  return host.actions.filter((deed) => deed.from !== null || deed.to !== null).map((deed) => {
    const from = deed.from ?? deed.to, at = deed.to ?? data.to ?? data.now ?? from;
    const lasts = deed.action === "maintain" && AFTERWARDS[deed.action] === afterwards(deed);
    return { deed, from: Math.min(from, at), at: Math.max(from, at), lasts };
  });
}

function afterwards(deed) { // what the legend says of it
  if (DEEDS[deed.outcome] === "host") return AFTERWARDS[deed.action] ?? deed.action;
  return deed.outcome === null ? "host: under way" : `host: ${spoken(deed.outcome)}`;
}

const deedColor = (deed) => (deed.outcome === null ? "flying" : DEEDS[deed.outcome] ?? "none");
const lastOf = (mark) => (mark.lasts ? data.to ?? data.now ?? right : mark.at);


function at(event) {
  const box = canvas.getBoundingClientRect(), x = event.clientX - box.left, y = event.clientY - box.top + chart.scrollTop;
  if (event.clientY - box.top < HEAD) return [null, null, null];
  const host = hosts.find((one) => y >= one.top && y < one.top + Math.max(one.lanes * LANE, 12) + GAP) ?? null;
  if (!host || x < LABEL) return [host, null, null];
  const lane = Math.floor((y - host.top) / LANE);
  if (lane === 0 && host.marks.length) return [host, null, nearest(host.marks, x)];
  return [host, host.laid.find((span) => span.lane === lane && x >= xOf(span.from) - 2 && x <= xOf(span.to) + 2) ?? null, null];
}

function nearest(marks, x) { // a diamond before the bar beneath it
  const near = marks.filter((mark) => x >= xOf(mark.from) - 5 && x <= xOf(lastOf(mark)) + 5);
  const off = (mark) => (Math.abs(x - xOf(mark.at)) <= 5 ? Math.abs(x - xOf(mark.at)) : 6);
  return near.sort((one, other) => off(one) - off(other))[0] ?? null;
}

function tip(event) {
  const [host, span, mark] = at(event);
  let text = "\u00a0";
  if (span) {
    const vm = span.vm;
    text = `${shownName(vm)} on ${host.name}: ${spoken(vm.outcome)}, ${moment(vm.from)} to ${moment(vm.to) || "now"}`;
  } else if (mark) {
    const { deed } = mark, when = deed.to === null ? `since ${moment(mark.from)}` : moment(deed.to);
    text = `${host.name}: ${deedText(deed)}, ${when}${deed.evidence ? `: ${deed.evidence}` : ""}`;
  } else if (host) {
    text = host.other ? `${host.name}: also ${restText(host.other)}` : `${host.name}: ${host.laid.length} VMs`;
  }
  find(".tip", timeline).textContent = text;
  canvas.style.cursor = host ? "pointer" : "default";
}

function restText(part) {
  return Object.entries(part.outcomes).map(([word, count]) => `${count} ${spoken(word)}`).join(", ");
}

function zoomTo(size) {
  const middle = chart.scrollLeft + (chart.clientWidth - LABEL) / 2, before = inner();
  zoom = Math.max(1, Math.min(400, size));
  draw();
  chart.scrollLeft = middle * (inner() / before) - (chart.clientWidth - LABEL) / 2;
  draw();
}

function showTimeline() {
  layOut();
  timeline.hidden = !hosts.length;
  if (!hosts.length) return;
  find("h2 small", timeline).textContent = `${hosts.length} host${hosts.length === 1 ? "" : "s"} by time (UTC), coloured by outcome`;
  colors();
  const seen = new Set(vms.filter((vm) => vm.from !== null).map((vm) => vm.outcome));
  for (const part of data.rest) for (const word of Object.keys(part.outcomes)) seen.add(word);
  const words = [...Object.keys(data.outcomes), FLYING, NONE].filter((one) => seen.has(one)), marks = new Map();
  for (const mark of hosts.flatMap((host) => host.marks)) marks.set(afterwards(mark.deed), mark);
  const entries = words.map((word) => legend(spoken(word), COLORS[word] ?? "none", ""));
  for (const [text, mark] of marks) entries.push(legend(text, deedColor(mark.deed), mark.lasts || mark.deed.outcome === null ? "" : "mark"));
  find(".legend", timeline).replaceChildren(...entries);
  chart.style.height = `${Math.min(height + 2, 520)}px`;
  draw();
}

function legend(text, color, kind) {
  const entry = made("span"), swatch = made("i", null, kind);
  swatch.style.background = `var(--o-${color})`;
  entry.append(swatch, text);
  return entry;
}

function startTimeline() {
  let waiting = false;
  const soon = () => {
    if (!waiting) requestAnimationFrame(() => { waiting = false; if (hosts.length) draw(); });
    waiting = true;
  };
  chart.addEventListener("scroll", soon);
  new ResizeObserver(soon).observe(chart);
  matchMedia("(prefers-color-scheme: dark)").addEventListener("change", () => { colors(); soon(); });
  canvas.addEventListener("mousemove", tip);
  canvas.addEventListener("click", (event) => {
    const [host, span, mark] = at(event);
    if (span) open(span.vm);
    else if (mark) openHost(host.itself);
    else if (host) only("host", host.name);
  });
  chart.addEventListener("wheel", (event) => {
    if (event.ctrlKey) { event.preventDefault(); zoomTo(zoom * (event.deltaY < 0 ? 1.25 : 0.8)); }
  }, { passive: false });
  chart.addEventListener("keydown", (event) => {
    if (event.key === "+" || event.key === "=") zoomTo(zoom * 1.5);
    else if (event.key === "-") zoomTo(zoom / 1.5);
    else if (event.key === "0") zoomTo(1);
  });
  for (const button of all("[data-zoom]", timeline)) {
    button.addEventListener("click", () => zoomTo({ in: zoom * 1.5, out: zoom / 1.5, all: 1 }[button.dataset.zoom]));
  }
}
