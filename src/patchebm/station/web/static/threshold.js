// Moves the threshold on the histogram, and counts at once what the last parts would have been.

const section = document.getElementById("preview");
const { scores, ng, reviews, tail } = JSON.parse(section.dataset.parts);
const chart = document.getElementById("histogram");
const line = document.getElementById("histogram-threshold");
const slider = document.getElementById("slider");
const value = document.getElementById("value");
const low = Number(chart.dataset.low), high = Number(chart.dataset.high);
const left = Number(chart.dataset.left), right = Number(chart.dataset.right);
const say = (id, text) => { document.getElementById(id).textContent = text; };

// As Tail.probability says, within what was observed: the share of good parts above the threshold.
function rate(threshold) {
  const parts = Math.round(tail[1].reduce((sum, weight) => sum + weight, 0));
  const above = tail[1].reduce((sum, weight, i) => sum + (tail[0][i] > threshold ? weight : 0), 0);
  const share = (1 + above) / (parts + 1);
  return above ? `${Number((100 * share).toPrecision(2))} %` : `< ${Number((100 * share).toPrecision(2))} %`;
}

function preview(threshold) {
  const after = scores.map((score) => score > threshold);
  const count = (wanted) => after.filter((now, i) => wanted(now, ng[i], reviews[i])).length;
  say("p-threshold", Number(threshold.toPrecision(3)));
  say("p-rate", rate(threshold));
  say("p-after", count((now) => now));
  say("p-to-ng", count((now, was) => now && !was));
  say("p-good", count((now, was, review) => now && !was && review === "good"));
  say("p-to-ok", count((now, was) => !now && was));
  say("p-bad", count((now, was, review) => !now && was && review === "defective"));
  const share = Math.min(1, Math.max(0, (threshold - low) / (high - low)));
  const x = left + share * (right - left);
  line.setAttribute("x1", x);
  line.setAttribute("x2", x);
}

slider.min = low;
slider.max = high;
slider.value = value.value;
slider.addEventListener("input", () => {
  value.value = Number(Number(slider.value).toPrecision(6));
  preview(Number(slider.value));
});
value.addEventListener("input", () => {
  if (!value.checkValidity()) return;
  slider.value = value.value;
  preview(Number(value.value));
});
section.dataset.live = "yes";
