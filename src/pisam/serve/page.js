"use strict";
// One picture, one session of the server. What is drawn is always what the server answered last.
const $ = (id) => document.getElementById(id);
const canvas = $("view"), pen = canvas.getContext("2d");
const token = new URLSearchParams(location.search).get("token");
const COLOUR = [64, 160, 255], MISSED = [226, 0, 122], FALSE = [0, 170, 228];
const state = { session: null, source: null, prompt: null, truthFile: null, name: "", picture: null, width: 0, height: 0, mask: null, first: null, truth: null, clicks: [], undone: [], undo: 0, redo: 0, iou: null };
const view = { scale: 1, x: 0, y: 0 };  // screen = picture * scale + (x, y)
let box = null, boxAsked = null, cross = null, corner = null, drag = null, fitted = true, busy = Promise.resolve(), waiting = 0;
const pending = [];  // clicks that are not answered yet

async function ask(method, path, body) {
  const headers = token ? { Token: token } : {};
  const answer = await fetch(path, { method, body, headers }).catch(() => {
    const file = body instanceof Blob ? `, or takes no file of ${Math.ceil(body.size / 1e6)} MB` : "";
    throw new Error(`The server does not answer${file}. Is pisam serve still running?`);
  });
  if (answer.ok) return answer;
  const text = await answer.json().catch(() => ({}));
  const unknown = answer.status === 401 && "Open the address that pisam serve printed, with its token.";
  throw Object.assign(new Error(unknown || text.error || `the server answered ${answer.status}`), { status: answer.status });
}

// An answer about the session. One that the server has forgotten begins anew, with its prompt and all clicks.
async function askSession(method, rest, body) {
  const path = (verb, session) => `api/sessions/${session}/${verb}`;
  try {
    return await ask(method, path(rest, state.session), body);
  } catch (error) {
    if (error.status !== 404) throw error;
  }
  say("The server has forgotten this picture; sending it again ...");
  const { session } = await (await state.source()).json();
  if (state.prompt) await ask("POST", path(state.prompt.verb, session), state.prompt.body);
  for (const [x, y, label] of [...state.clicks, ...state.undone]) await ask("POST", path("click", session), JSON.stringify({ x, y, foreground: label === 1 }));
  for (const _ of state.undone) await ask("POST", path("undo", session), "{}");
  if (state.truthFile) await ask("POST", path("truth", session), state.truthFile);
  state.session = session;
  return ask(method, path(rest, session), body);
}

// Requests one after the other, in the order of the clicks; what fails is said and changes nothing.
function queue(what, action) {
  waiting += 1;
  say(what);
  busy = busy.then(action).then(() => { if (waiting === 1) say(ready()); }, (error) => say(error.message, true))
    .finally(() => { waiting -= 1; controls(); draw(); }).catch((error) => say(error.message, true));
  return busy;
}

// For the picture that is shown now; where another one is shown when its turn comes, nobody wants it any more.
function queueHere(what, action) {
  const { picture } = state;
  return queue(what, async () => { if (state.picture === picture) await action(); });
}

function say(text, wrong = false) {
  $("status").textContent = text;
  $("status").classList.toggle("wrong", wrong);
}

function ready() {
  if (!state.session) return "Drop a picture here, open one, or try a generated one.";
  return state.mask ? "Click what is missing; right-click what is too much." : "Drag a box around the object.";
}

async function bitmap(uri) {
  const image = new Image();
  image.src = uri;
  await image.decode();
  const sheet = new OffscreenCanvas(image.width, image.height), ink = sheet.getContext("2d");
  ink.drawImage(image, 0, 0);
  const levels = ink.getImageData(0, 0, image.width, image.height).data;
  return Uint8Array.from({ length: levels.length / 4 }, (_, index) => levels[4 * index] > 127 ? 1 : 0);
}

async function begin(source, name) {
  const begun = await (await source()).json();
  // As the server sees it: upright, and of kinds that browsers do not show.
  const picture = await createImageBitmap(await (await ask("GET", `api/sessions/${begun.session}/image`)).blob());
  const truth = begun.truth ? await bitmap(begun.truth) : null;
  if (state.session) ask("DELETE", `api/sessions/${state.session}`).catch(() => {});
  Object.assign(state, { session: begun.session, source, name, prompt: null, truthFile: null, picture, width: begun.width, height: begun.height, mask: null, first: null, truth, clicks: [], undone: [], undo: 0, redo: 0, iou: null });
  box = boxAsked = cross = corner = drag = null;
  $("slider").value = 0;
  $("errors").checked = false;
  fit();
}

const openFile = (file) => queue(`Reading ${file.name} ...`, () => begin(() => ask("POST", "api/images", file), file.name.replace(/\.[^.]*$/, "")));
const openSample = (number) => queue("Drawing a picture ...", () => begin(() => ask("POST", `api/samples/${number}`), "generated"));

async function take(answer) {
  const told = await answer.json();
  state.mask = told.mask ? await bitmap(told.mask) : null;
  const undone = [...state.clicks, ...state.undone].slice(told.clicks.length).slice(0, told.redo);
  Object.assign(state, { clicks: told.clicks, undone, undo: told.undo, redo: told.redo, iou: told.iou });
  if (!told.clicks.length) state.first = state.mask;
}

function tell(verb, value, what = "Thinking ...") {
  if (!state.session) return busy;
  const body = value instanceof Blob ? value : JSON.stringify(value || {});
  return queueHere(what, async () => {
    if (state[verb] === 0) return;  // undo or redo: those before have left nothing to it
    await take(await askSession("POST", verb, body));
    if (!["box", "mask", "reset"].includes(verb)) return;
    state.prompt = verb === "reset" ? null : { verb, body };
    box = verb === "box" ? value.box : null;
    corner = null;
  });
}

function setBox(x0, y0, x1, y1) {
  const [left, right] = [x0, x1].sort((a, b) => a - b), [top, bottom] = [y0, y1].sort((a, b) => a - b);
  const made = [Math.max(0, left), Math.max(0, top), Math.min(state.width, right), Math.min(state.height, bottom)];
  if (made[2] - made[0] < 1 || made[3] - made[1] < 1) { say("Drag a box around the object.", true); return draw(); }
  boxAsked = made;
  tell("box", { box: made }).finally(() => { if (boxAsked === made) boxAsked = null; draw(); });
}

function click(point, foreground) {
  if (!state.mask) return say("Drag a box around the object first.", true);
  const [x, y] = point;
  if (x < 0 || y < 0 || x >= state.width || y >= state.height) return;
  const made = [x, y, foreground];
  pending.push(made);
  tell("click", { x, y, foreground }).finally(() => { pending.splice(pending.indexOf(made), 1); controls(); draw(); });
  controls();
  draw();
}

async function download(format) {
  await queueHere("Writing ...", async () => {
    const contents = await (await askSession("GET", `download/${format}`)).blob();
    const link = document.createElement("a");
    link.href = URL.createObjectURL(contents);
    link.download = `${state.name}_${format}.${contents.type.includes("json") ? "json" : "png"}`;
    link.click();
    setTimeout(() => URL.revokeObjectURL(link.href), 10000);
  });
}

// Drawing.

function paint() {
  const sheet = new OffscreenCanvas(state.width, state.height), ink = sheet.getContext("2d");
  const pixels = ink.createImageData(state.width, state.height), data = pixels.data;
  const border = Math.round(state.width * Number($("slider").value) / 100), errors = $("errors").checked && state.truth;
  const alpha = Math.round(255 * Number($("opacity").value) / 100), outline = $("outline").checked;
  for (let y = 0, index = 0; y < state.height; y++) for (let x = 0; x < state.width; x++, index++) {
    const mask = x < border ? state.first : state.mask;
    let colour = null, a = errors ? 0 : alpha;  // beside the errors' colours, what is right has its outline alone
    if (errors && mask[index] !== state.truth[index]) [colour, a] = [mask[index] ? FALSE : MISSED, Math.max(alpha, 128)];
    else if (mask[index]) {
      colour = COLOUR;
      if (outline && (x === 0 || y === 0 || x === state.width - 1 || y === state.height - 1 || !mask[index - 1] || !mask[index + 1]
        || !mask[index - state.width] || !mask[index + state.width])) a = 255;
    }
    if (colour) data.set([...colour, a], 4 * index);
  }
  ink.putImageData(pixels, 0, 0);
  return { sheet, border };
}

let painted = null, key = "";
function draw() {
  const ratio = window.devicePixelRatio, { clientWidth, clientHeight } = canvas;
  if (canvas.width !== clientWidth * ratio || canvas.height !== clientHeight * ratio) {
    canvas.width = clientWidth * ratio;
    canvas.height = clientHeight * ratio;
  }
  pen.setTransform(ratio, 0, 0, ratio, 0, 0);
  pen.clearRect(0, 0, clientWidth, clientHeight);
  if (!state.picture) return;
  pen.imageSmoothingEnabled = view.scale < 2;
  pen.setTransform(ratio * view.scale, 0, 0, ratio * view.scale, ratio * view.x, ratio * view.y);
  pen.drawImage(state.picture, 0, 0);
  if (state.mask) {
    const wanted = [state.session, state.undo, state.redo, state.clicks, ...["slider", "opacity"].map((id) => $(id).value), ...["errors", "outline"].map((id) => $(id).checked)].join();
    if (wanted !== key || painted.of !== state.mask) { painted = { ...paint(), of: state.mask }; key = wanted; }
    pen.drawImage(painted.sheet, 0, 0);
    if (painted.border > 0 && painted.border < state.width) line([[painted.border, 0], [painted.border, state.height]], "white");
  }
  const shown = drag && drag.box ? drag.box : boxAsked || (corner && cross ? [...corner, ...cross] : box);
  if (shown) line([[shown[0], shown[1]], [shown[2], shown[1]], [shown[2], shown[3]], [shown[0], shown[3]], [shown[0], shown[1]]], "#ffd400");
  for (const made of [...state.clicks, ...pending]) {
    const colour = made[2] ? "rgb(0,200,0)" : "rgb(230,0,0)", open = pending.includes(made);
    pen.beginPath();
    pen.arc(made[0], made[1], 5 / view.scale, 0, 7);
    pen.fillStyle = open ? "white" : colour;
    pen.fill();
    pen.lineWidth = (open ? 2.5 : 1.5) / view.scale;
    pen.strokeStyle = open ? colour : "white";
    pen.stroke();
  }
  if (cross && document.activeElement === canvas) {
    const arm = 12 / view.scale;
    line([[cross[0] - arm, cross[1]], [cross[0] + arm, cross[1]]], "white");
    line([[cross[0], cross[1] - arm], [cross[0], cross[1] + arm]], "white");
  }
}

function line(points, colour) {
  for (const [width, style] of [[3, "black"], [1.5, colour]]) {
    pen.beginPath();
    points.forEach(([x, y], index) => index ? pen.lineTo(x, y) : pen.moveTo(x, y));
    pen.lineWidth = width / view.scale;
    pen.strokeStyle = style;
    pen.stroke();
  }
}

function controls() {
  $("undo").disabled = !state.undo && !pending.length;
  $("redo").disabled = !state.redo;
  $("reset").disabled = !state.mask;
  $("downloads").disabled = !state.mask;
  $("truth").disabled = $("given").disabled = !state.session;
  $("errors").disabled = !state.truth;
  $("hint").hidden = Boolean(state.session);
  const added = state.clicks.filter((each) => each[2]).length;
  $("counts").textContent = state.mask ? `${added} added, ${state.clicks.length - added} taken away` : "no box yet";
  $("iou").textContent = state.truth ? (state.iou === null ? "IoU: needs a mask" : `IoU ${state.iou.toFixed(4)}`) : "";
}

function fit() {
  view.scale = Math.min(canvas.clientWidth / state.width, canvas.clientHeight / state.height) * 0.98;
  view.x = (canvas.clientWidth - state.width * view.scale) / 2;
  view.y = (canvas.clientHeight - state.height * view.scale) / 2;
  fitted = true;
  draw();
}

function zoom(factor, x = canvas.clientWidth / 2, y = canvas.clientHeight / 2) {
  const scale = Math.min(40, Math.max(0.02, view.scale * factor));
  view.x = x - (x - view.x) * scale / view.scale;
  view.y = y - (y - view.y) * scale / view.scale;
  view.scale = scale;
  fitted = false;
  draw();
}

// Mouse and keys.

function at(event) {
  const edge = canvas.getBoundingClientRect();
  return [(event.clientX - edge.left - view.x) / view.scale, (event.clientY - edge.top - view.y) / view.scale];
}

canvas.addEventListener("pointerdown", (event) => {
  if (!state.session || event.button > 2) return;
  canvas.setPointerCapture(event.pointerId);
  canvas.focus();
  drag = { from: at(event), screen: [event.clientX, event.clientY], start: { ...view }, pan: event.button === 1 || event.altKey, button: event.button, box: null };
  event.preventDefault();
});

canvas.addEventListener("pointermove", (event) => {
  if (!drag) return;
  const dx = event.clientX - drag.screen[0], dy = event.clientY - drag.screen[1];
  if (drag.pan) {
    view.x = drag.start.x + dx;
    view.y = drag.start.y + dy;
    fitted = false;
  } else if (drag.button === 0 && (drag.box || Math.hypot(dx, dy) > 4)) drag.box = [...drag.from, ...at(event)];
  draw();
});

canvas.addEventListener("pointerup", (event) => {
  const done = drag;
  drag = null;
  if (!done || done.pan) return;
  // With a mask, a hand that shook is a click: another box would forget all clicks.
  const thin = Math.min(Math.abs(event.clientX - done.screen[0]), Math.abs(event.clientY - done.screen[1])) < 8;
  if (done.box && !(thin && state.mask)) setBox(...done.from, ...at(event));
  else click(done.from, done.button === 0 && !event.shiftKey);
});

// Without the menu of the right button, and the buttons beside the thumb that leave the page with all clicks.
for (const kind of ["contextmenu", "mouseup"]) canvas.addEventListener(kind, (event) => event.preventDefault());
canvas.addEventListener("wheel", (event) => {
  const edge = canvas.getBoundingClientRect();
  zoom(Math.exp(-event.deltaY / 400), event.clientX - edge.left, event.clientY - edge.top);
  event.preventDefault();
}, { passive: false });
canvas.addEventListener("focus", () => {
  if (state.session && canvas.matches(":focus-visible")) cross = cross || [state.width / 2, state.height / 2];
  draw();
});
canvas.addEventListener("blur", draw);

function press(event) {
  const control = event.ctrlKey || event.metaKey;
  if ((control && !"zyZ".includes(event.key)) || event.altKey || event.target.matches("select")) return;
  const far = event.shiftKey ? 32 : 4, steps = { ArrowLeft: [-far, 0], ArrowRight: [far, 0], ArrowUp: [0, -far], ArrowDown: [0, far] };
  const named = control && event.key === "Z" ? "redo" : { z: "undo", y: "redo", b: "reset", 0: "fit" }[event.key.toLowerCase()];
  if (named) { if (!$(named).disabled) $(named).click(); } else if (event.key === "+" || event.key === "=") zoom(1.25);
  else if (event.key === "-") zoom(0.8);
  else if (event.target !== canvas || !state.session) return;
  else if (steps[event.key]) {
    const [x, y] = cross || [state.width / 2, state.height / 2];
    cross = [Math.min(state.width - 0.5, Math.max(0.5, x + steps[event.key][0])), Math.min(state.height - 0.5, Math.max(0.5, y + steps[event.key][1]))];
    say(`${Math.floor(cross[0])}, ${Math.floor(cross[1])}`);
    draw();
  } else if (event.key === "Enter" && cross) {
    if (state.mask) click(cross, true);
    else if (corner) { setBox(...corner, ...cross); corner = null; } else { corner = cross; say("One corner of the box; go to the other one and press Enter."); }
  } else if (event.key === "Backspace" && cross) click(cross, false);
  else return;
  event.preventDefault();
}
document.addEventListener("keydown", press);

for (const verb of ["undo", "redo", "reset"]) $(verb).addEventListener("click", () => tell(verb));
$("fit").addEventListener("click", fit);
for (const id of ["opacity", "slider", "outline", "errors"]) $(id).addEventListener("input", draw);
for (const button of document.querySelectorAll("[data-format]")) button.addEventListener("click", () => download(button.dataset.format));
$("file").addEventListener("change", (event) => { if (event.target.files.length) openFile(event.target.files[0]); event.target.value = ""; });
$("samples").addEventListener("change", (event) => { if (event.target.value !== "") openSample(event.target.value); event.target.value = ""; });
$("given").addEventListener("change", (event) => { if (event.target.files.length) tell("mask", event.target.files[0]); event.target.value = ""; });
$("truth").addEventListener("change", (event) => {
  const [file] = event.target.files;
  event.target.value = "";
  if (!file) return;
  queueHere("Reading the true mask ...", async () => {
    const answer = await askSession("POST", "truth", file);
    state.truth = await bitmap((await answer.clone().json()).truth);  // as the server reads it: 0 and 1, too
    state.truthFile = file;
    await take(answer);
  });
});

const stage = $("stage");
// Anywhere: a browser shows a file that is dropped beside the stage, and what was clicked is lost.
document.addEventListener("dragover", (event) => { event.preventDefault(); stage.classList.add("over"); });
document.addEventListener("dragleave", () => stage.classList.remove("over"));
document.addEventListener("drop", (event) => {
  event.preventDefault();
  stage.classList.remove("over");
  if (event.dataTransfer.files.length) openFile(event.dataTransfer.files[0]);
});
new ResizeObserver(() => { if (state.picture) fitted ? fit() : draw(); }).observe(canvas);

ask("GET", "api/samples").then(async (answer) => {
  (await answer.json()).samples.forEach((name, index) => $("samples").append(new Option(name, index)));
}).catch((error) => say(error.message, true));
