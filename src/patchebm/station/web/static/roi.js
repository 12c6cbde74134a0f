// Draws the region of interest on the newest image; its numbers stand in the form.

const place = document.getElementById("draw");
const box = document.getElementById("roi-box");

if (place) {
  const { x, y, width, height } = document.getElementById("roi-form").elements;
  const image = box.ownerSVGElement.viewBox.baseVal;

  const show = () => {
    for (const input of [x, y, width, height]) box.setAttribute(input.name, input.value || 0);
  };
  const at = (event) => {
    const seen = place.getBoundingClientRect();
    const share = (value, size) => Math.min(1, Math.max(0, value / size));
    return [
      Math.round(image.width * share(event.clientX - seen.left, seen.width)),
      Math.round(image.height * share(event.clientY - seen.top, seen.height)),
    ];
  };

  let from;
  place.addEventListener("pointerdown", (event) => {
    from = at(event);
    place.setPointerCapture(event.pointerId);
    event.preventDefault();
  });
  place.addEventListener("pointermove", (event) => {
    if (!from) return;
    const to = at(event);
    x.value = Math.min(from[0], to[0]);
    y.value = Math.min(from[1], to[1]);
    width.value = Math.abs(to[0] - from[0]);
    height.value = Math.abs(to[1] - from[1]);
    show();
  });
  for (const end of ["pointerup", "pointercancel"]) place.addEventListener(end, () => { from = undefined; });
  for (const input of [x, y, width, height]) input.addEventListener("input", show);
  show();
}
