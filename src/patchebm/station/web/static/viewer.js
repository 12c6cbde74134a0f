// Zoom, the strength of the anomaly map, boxes of its regions; keys for reviews.

const viewer = document.getElementById("viewer");
const opacity = document.getElementById("opacity");
const MOST = 12;

if (viewer) {
  const inner = viewer.querySelector(".overlay");
  let zoom = 1, x = 0, y = 0;

  const draw = () => {
    const room = (zoom - 1) / 2;
    x = Math.max(-room, Math.min(room, x));
    y = Math.max(-room, Math.min(room, y));
    inner.style.transform = `translate(${100 * x}%, ${100 * y}%) scale(${zoom})`;
  };
  const zoomBy = (factor) => {
    zoom = factor ? Math.max(1, Math.min(MOST, zoom * factor)) : 1;
    draw();
  };

  for (const button of document.querySelectorAll("[data-zoom]")) {
    button.addEventListener("click", () => zoomBy(Number(button.dataset.zoom)));
  }
  viewer.addEventListener("keydown", (event) => {
    const moves = { ArrowLeft: [0.1, 0], ArrowRight: [-0.1, 0], ArrowUp: [0, 0.1], ArrowDown: [0, -0.1] };
    if (event.key === "+") zoomBy(1.5);
    else if (event.key === "-") zoomBy(1 / 1.5);
    else if (moves[event.key]) {
      x += moves[event.key][0];
      y += moves[event.key][1];
      draw();
    } else return;
    event.preventDefault();
  });
  let from;
  viewer.addEventListener("pointerdown", (event) => {
    from = [event.clientX, event.clientY, x, y];
    viewer.setPointerCapture(event.pointerId);
  });
  viewer.addEventListener("pointermove", (event) => {
    if (!from || zoom === 1) return;
    x = from[2] + (event.clientX - from[0]) / viewer.clientWidth;
    y = from[3] + (event.clientY - from[1]) / viewer.clientHeight;
    draw();
  });
  viewer.addEventListener("pointerup", () => { from = undefined; });

  const map = viewer.querySelector(".map");
  const strengthen = () => { map.style.opacity = opacity.value / 100; };
  opacity.addEventListener("input", strengthen);
  strengthen();

  const boxes = document.getElementById("boxes");
  boxes?.addEventListener("change", () => {
    document.getElementById("regions").classList.toggle("off", !boxes.checked);
  });
}

document.addEventListener("keydown", (event) => {
  if (event.ctrlKey || event.altKey || event.metaKey || event.repeat) return;
  if (event.target.matches("input:not([type=range]), select, textarea")) return;
  if (event.key === "m" && opacity) {
    opacity.value = Number(opacity.value) ? 0 : 60;
    opacity.dispatchEvent(new Event("input"));
  }
  document.querySelector(`[data-key="${CSS.escape(event.key.toLowerCase())}"]`)?.click();
});
