// The operator's page: takes in each part as the station stores it.

const line = document.getElementById("line");
const at = (id) => document.getElementById(id);
// Seconds after which counters, warnings and shift are asked for again.
const EVERY = 20;

function figure(value) {
  return String(Number(value.toPrecision(3)));
}

// Sources that join views of a part: each view goes into the strip, and only their joined verdict is the part's.
const joining = line.dataset.views.split(" ").filter(Boolean);

function show(part) {
  if (part.views) showVerdict({ ...part.views[part.worst_view], part: part.part, verdict: part.verdict });
  else {
    if (!joining.includes(part.source.split("/")[0])) showVerdict(part);
    showInStrip(part);
  }
}

function showVerdict(part) {
  at("verdict").className = `verdict ${part.verdict.toLowerCase()}`;
  at("part").textContent = part.part;
  at("time").textContent = new Date(part.time).toLocaleString("sv-SE");
  at("score").textContent = figure(part.score);
  at("threshold").textContent = figure(part.threshold);
  for (const [id, address] of [["image", part.image], ["map", part.map]]) {
    at(id).hidden = !address;
    if (address) at(id).src = address;
  }
  const count = at(`count-${part.verdict.toLowerCase()}`);
  count.textContent = Number(count.textContent) + 1;
  const ng = Number(at("count-ng").textContent);
  at("share").textContent = `${((100 * ng) / (ng + Number(at("count-ok").textContent))).toPrecision(2)} %`;
  if (part.verdict === "NG" && at("sound").checked) beep();
}

function showInStrip(part) {
  const item = at("part-item").content.cloneNode(true);
  const link = item.querySelector("a");
  link.href = `/parts/${part.id}`;
  link.className = part.verdict.toLowerCase();
  link.querySelector("img").src = part.image;
  link.querySelector(".small").textContent = part.part;
  at("parts").prepend(item);
  while (at("parts").children.length > Number(line.dataset.shown)) at("parts").lastElementChild.remove();
}

function newest(page) {
  return page.querySelector("#parts a")?.getAttribute("href");
}

function isShown(part) {
  // Ids sort by time.
  if (part.views) return part.views[part.worst_view].id <= at("counters").dataset.newest;
  return Boolean(at("parts").querySelector(`[href$="${part.id}"]`));
}

// Parts that come while the page is asked for again.
let held;

// Takes over what no event tells: parts that were not inspected, a drift alarm, the next shift, and parts that came
// before the events began.
async function refresh() {
  if (held) return;
  held = [];
  try {
    const answer = await fetch(location.href);
    // Signed out, or the product is gone: the address says so.
    if (!answer.ok || answer.redirected) location.reload();
    const fresh = new DOMParser().parseFromString(await answer.text(), "text/html");
    const changed = ["warnings", "counters", "parts"];
    if (newest(fresh) !== newest(document)) changed.push("verdict", "seen");
    for (const id of changed) at(id).replaceWith(fresh.getElementById(id));
  } catch {
    // The station is away; `error` below says so.
  }
  const late = held;
  held = undefined;
  for (const part of late) if (!isShown(part)) show(part);
}

let audio;

function beep() {
  audio ??= new AudioContext();
  const tone = audio.createOscillator();
  const volume = audio.createGain();
  tone.frequency.value = 660;
  volume.gain.setValueAtTime(0.2, audio.currentTime);
  volume.gain.exponentialRampToValueAtTime(0.001, audio.currentTime + 0.5);
  tone.connect(volume).connect(audio.destination);
  tone.start();
  tone.stop(audio.currentTime + 0.5);
}

const kept = localStorage.getItem("sound");
if (kept !== null) at("sound").checked = kept === "on";
at("sound").addEventListener("change", () => {
  localStorage.setItem("sound", at("sound").checked ? "on" : "off");
  if (at("sound").checked) beep();
});

document.addEventListener("keydown", (event) => {
  if (event.ctrlKey || event.altKey || event.metaKey) return;
  if (event.key === "s") at("sound").click();
  if (event.key === "r") location.href = `/review?product=${line.dataset.product}`;
});

const events = new EventSource("/events");
let opened = false;
events.addEventListener("open", () => {
  // Parts came while the line was cut: the page loads its lists again.
  if (opened) location.reload();
  opened = true;
  at("lost").hidden = true;
  refresh().then(() => { line.dataset.live = "yes"; });
});
setInterval(refresh, 1000 * EVERY);
events.addEventListener("error", () => {
  at("lost").hidden = false;
  delete line.dataset.live;
});
events.addEventListener("lost", () => location.reload());
for (const kind of ["inspection", "part"]) {
  events.addEventListener(kind, (event) => {
    const part = JSON.parse(event.data);
    if (part.product !== line.dataset.product) return;
    if (held) held.push(part);
    else show(part);
  });
}
