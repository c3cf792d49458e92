// What is known of each VM and host, unpacked from the page's data; and how it is worded.
const NONE = "(none)", FLYING = "in_flight";
const RANKS = { bad: 0, warn: 1 };
let data = null, begun = 0, numbered = new Set(), vms = [], byUuid = new Map();

function unpacked(row, fields) {
  const made = {};
  fields.forEach((field, index) => {
    const value = row[index] ?? null;
    made[field] = value !== null && numbered.has(field) ? data.words[value] : value;
  });
  return made;
}

function taken(row) { // one VM's row: new, or instead of what was known of it
  const vm = unpacked(row, data.fields), known = byUuid.get(vm.uuid);
  vm.attempts = (vm.attempts || []).map((attempt) => unpacked(attempt, data.attempt_fields));
  vm.outcome ??= NONE;
  vm.place = known?.place ?? byUuid.size;
  byUuid.set(vm.uuid, vm);
  return vm;
}

function arranged() { // what needs somebody comes first, else the plan's order
  vms = [...byUuid.values()];
  vms.sort((one, other) => urgency(one) - urgency(other) || one.place - other.place);
}

function urgency(vm) {
  if (vm.outcome === NONE) return data.to === null ? 2 : 0;
  return RANKS[data.outcomes[vm.outcome]?.tone] ?? 2;
}

const find = (selector, within = document) => within.querySelector(selector);
const all = (selector, within = document) => [...within.querySelectorAll(selector)];
const { compare: compared } = new Intl.Collator(undefined, { numeric: true });
const spoken = (word) => (word === NONE ? "no outcome" : word.replaceAll("_", " "));
const shownName = (vm) => vm.name || vm.uuid;
const secondsText = (value) => (value === null ? "" : value >= 600 ? `${(value / 60).toFixed(1)} min` : `${value.toFixed(1)} s`);

function made(tag, text, kind) {
  const element = document.createElement(tag);
  if (text !== undefined && text !== null) element.textContent = text;
  if (kind) element.className = kind;
  return element;
}

function tagged(outcome) {
  return made("span", spoken(outcome), `tag ${data.outcomes[outcome]?.tone ?? ""}`);
}

function moment(seconds, whole) {
  if (seconds === null) return "";
  const text = new Date(begun + seconds * 1000).toISOString();
  return whole ? `${text.slice(0, 10)} ${text.slice(11, 19)}Z` : `${text.slice(11, 19)}Z`;
}
