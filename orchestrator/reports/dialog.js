// One VM, or one host: everything that is known of it.
const dialog = find("#vm");

function framed(name) { // the dialog anew, with a title and a way out
  const close = made("button", "Close", "close"), title = made("h2", name);
  close.type = "button";
  close.addEventListener("click", () => dialog.close());
  title.id = "vm-name";
  dialog.replaceChildren(close, title);
}

function listed(facts) {
  const list = made("dl");
  for (const [name, value] of facts) if (value) list.append(made("dt", name), made("dd", value));
  return list;
}

function blamed(one) {
  const chain = made("p");
  if (one.cause) chain.append(made("code", one.cause));
  return [made("h3", "Error"), chain, made("p", one.error)];
}

const earlier = (count) => (count ? [made("p", `${count} earlier ones are in report.json.`, "more")] : []);

function open(vm) {
  const lead = made("p");
  framed(shownName(vm));
  const flight = "It has had its turn, and has no outcome yet.", none = "Nothing is claimed about it.";
  const text = vm.outcome === FLYING ? flight : data.outcomes[vm.outcome]?.text ?? none;
  lead.append(tagged(vm.outcome), ` ${text}`);
  const facts = [
    ["UUID", vm.uuid], ["Reason", vm.reason], ["Host", vm.host], ["Migrated to", vm.migrated_to], ["Wave", vm.wave], ["Kind", vm.type], ["HA", vm.ha],
    ["State", `${vm.before ?? "not read"} \u2192 ${vm.state ?? "not read"}`],
    ["From", moment(vm.from, true)], ["To", moment(vm.to, true)], ["Took", secondsText(vm.seconds)],
    ["Evidence", vm.evidence && [vm.evidence, measured(vm)].filter(Boolean).join(" ")],
    ["Read again", vm.verified === null ? data.to !== null && "not after the run" : moment(vm.verified, true)],
    ["Late", vm.late && "it changed only after the run had given up on it"],
    ["Check", vm.check && "look at it once it runs again: its power was or may have been cut"],
  ];
  dialog.append(lead, listed(facts));
  if (vm.error) dialog.append(...blamed(vm));
  dialog.append(made("h3", vm.attempts.length || vm.left_out ? "Steps" : vm.outcome === FLYING ? "Under way" : "Nothing was sent to it"));
  dialog.append(...earlier(vm.left_out));
  if (vm.attempts.length) dialog.append(steps(vm));
  dialog.showModal();
}

function openHost(host) { // what was done to it, one thing after the other
  framed(host.name);
  dialog.append(listed([["UUID", host.uuid]]));
  for (const deed of host.actions) {
    const title = made("h3");
    title.append(made("span", deedText(deed), `tag ${deed.tone}`));
    dialog.append(title, listed([
      ["Meaning", deed.text], ["Evidence", deed.evidence],
      ["State", deed.before || deed.state ? `${deed.before || "not read"} \u2192 ${deed.state || "not read"}` : ""],
      ["From", moment(deed.from, true)], ["To", moment(deed.to, true)],
    ]));
    if (deed.error || deed.cause) dialog.append(...blamed(deed));
    dialog.append(...earlier(deed.left_out));
    if (deed.attempts.length) dialog.append(steps(deed));
  }
  const button = made("button", "Show its VMs", "lead");
  button.type = "button";
  button.addEventListener("click", () => { dialog.close(); only("host", host.name); });
  dialog.append(button);
  dialog.showModal();
}

const deedText = (deed) => `${deed.action}: ${deed.outcome === null ? "under way" : spoken(deed.outcome)}`;

function measured(vm) {
  return vm.evidence_seconds === null ? "" : `(${secondsText(vm.evidence_seconds)}, by the ${vm.basis})`;
}

function steps(vm) {
  const table = made("table"), head = table.createTHead().insertRow(), body = table.createTBody();
  for (const title of ["Sent", "What", "Why", "Ended", "Result", "Job", "Error"]) head.append(made("th", title));
  for (const attempt of vm.attempts) {
    const row = body.insertRow(), error = [attempt.cause, attempt.error].filter(Boolean).join(": ");
    const to = attempt.host ? ` to ${attempt.host}` : "";
    const limit = attempt.timeout === null ? "" : `, at most ${attempt.timeout} s`;
    const texts = [moment(attempt.sent), `${attempt.type}${to}${limit}`, attempt.reason, moment(attempt.ended),
      spoken(attempt.result), attempt.job, error];
    texts.forEach((text, index) => {
      const cell = made("td");
      cell.append(index === 5 ? made("small", text, "id") : text ?? "");
      cell.className = { 0: "time", 2: "time", 3: "time", 4: "time" }[index] ?? "";
      row.append(cell);
    });
  }
  return table;
}
