"use strict";
const at = (id) => document.getElementById(id);
const say = (id, text) => { at(id).textContent = text; };
const list = (names) => names.length ? names.join(", ") : "nobody";
const seconds = (value) => value === null ? "" : value.toFixed(1);

function row(cells) {
  const line = document.createElement("tr");
  for (const cell of cells) {
    const box = document.createElement("td");
    box.textContent = cell;
    line.append(box);
  }
  return line;
}

function show(status) {
  say("federation", status.federation);
  document.title = `${status.federation}: round ${status.round} of ${status.rounds}`;
  say("stage", status.halted ? `halted: ${status.halted}` : status.stalled ? `no round can begin: ${status.stalled}` : status.stage);
  at("stage").className = status.halted || status.stalled ? "bad" : "";
  for (const key of ["round", "rounds", "attempt", "phase", "charter", "record"]) say(key, status[key]);
  at("progress").value = status.rounds ? status.applied / status.rounds : 0;
  say("waiting", list(status.waiting_for));
  say("contributed", list(status.contributed));
  say("epsilon", status.epsilon === null ? "not bounded" : status.epsilon.toFixed(3));
  say("ceiling", status.charter_epsilon);
  say("delta", status.delta.toExponential());
  at("spent").value = status.epsilon === null ? 1 : Math.min(1, status.epsilon / status.charter_epsilon);
  say("mode", status.mode === "none" ? "NO PRIVACY: the charter's mode is none" : `mode ${status.mode}`);
  const isolated = new Map(status.isolated);
  const stock = new Map(status.keys);
  const state = (name) => isolated.has(name) ? `isolated (${isolated.get(name)})`
    : status.suspects.includes(name) ? "suspected" : status.revoked.includes(name) ? "revoked" : "joined";
  at("members").replaceChildren(
    ...status.joined.map((name) => row([name, state(name), stock.get(name) ?? "", status.versions[name] ?? ""])),
    ...status.missing.map((name) => row([name, "has not joined", "", ""])));
  showMetrics(status.metrics, status.rounds);
  at("history").replaceChildren(...status.history.map((one) => row([
    one.round, one.attempt, list(one.houses), seconds(one.to_cohort), seconds(one.to_checked), seconds(one.to_end), one.conclusion])));
}

async function update() {
  try {
    const answer = await fetch("status.json" + location.search);
    if (!answer.ok) throw new Error(await answer.text());
    show(await answer.json());
    say("problem", "");
  } catch (error) {
    say("problem", `not updated: ${error.message}`);
  }
  setTimeout(update, 2000);
}
update();
