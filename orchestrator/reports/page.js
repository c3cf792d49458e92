// The page as a whole: its checklist, on paper, and what it is given from outside.
function showChecklist() {
  const section = find("#check"), list = find("ul.check"), ticked = new Set(all("input:checked", list).map((box) => box.value));
  const marked = vms.filter((vm) => vm.check);
  section.hidden = !marked.length;
  find("h2 span", section).textContent = data.action === "stop" ? "Check after start" : "Check now that they run";
  const count = marked.length === 1 ? "1 VM" : `${marked.length} VMs`;
  find("h2 small", section).textContent = `${count} whose power was or may have been cut`;
  list.replaceChildren(...marked.map((vm) => {
    const item = made("li"), label = made("label"), box = made("input");
    box.type = "checkbox";
    box.value = vm.uuid;
    box.checked = ticked.has(vm.uuid);
    label.append(box, shownName(vm), made("small", `${vm.host}, ${spoken(vm.outcome)}`));
    item.append(label);
    return item;
  }));
}

function begin(whole) { // everything, anew
  data = whole;
  begun = Date.parse(data.start);
  numbered = new Set(data.numbered);
  byUuid = new Map();
  for (const row of data.rows) taken(row);
  arranged();
  headTable();
  show(false);
}

function update(change) { // what has changed since: rows, the words they number, who is in flight, the run itself
  data.words.push(...change.words);
  Object.assign(data, change.about, { now: change.now });
  for (const vm of byUuid.values()) {
    if (vm.outcome !== FLYING) continue;
    vm.outcome = NONE;
    if (vm.passing) byUuid.delete(vm.uuid); // one of many that has no row of its own
  }
  for (const row of change.rows) taken(row);
  for (const [uuid, name, host, wave, from] of change.flying) {
    let vm = byUuid.get(uuid);
    if (!vm) {
      vm = taken([uuid]);
      vm.passing = true;
    }
    if (vm.outcome === NONE) Object.assign(vm, { outcome: FLYING, name, host, wave, from, text: undefined });
  }
  arranged();
  show(true);
}

function show(stay) {
  for (const words of all(".plain")) words.hidden = true;
  showTable(stay);
  showTimeline();
  showChecklist();
}

startTable();
startTimeline();
addEventListener("beforeprint", () => {
  for (const folded of all("details:not(.deed)")) folded.open = true; // what went wrong with a host stands beside its fold
  if (data) paintRows(true);
  if (hosts.length) { chart.style.height = `${Math.min(height + 2, 4000)}px`; palette = { ...PAPER }; draw(true); }
});
addEventListener("afterprint", () => {
  if (data) paintRows();
  if (hosts.length) { chart.style.height = `${Math.min(height + 2, 520)}px`; colors(); draw(); }
});