"use strict";
/* The page of `medimg view`: unpacks the viewer and the volumes that lie in it, and ties controls to them. */
(async () => {
  const root = document.documentElement;
  const find = (id) => document.getElementById(id);
  const fail = (words) => {
    root.dataset.state = "failed";
    find("message").textContent = words;
    find("message").hidden = false;
  };
  addEventListener("error", (event) => fail(`This page failed: ${event.message}`));
  addEventListener("unhandledrejection", (event) => fail(`This page failed: ${event.reason}`));
  document.addEventListener("securitypolicyviolation", (event) => (root.dataset.violation = event.violatedDirective));

  if (typeof DecompressionStream === "undefined") {
    return fail("This browser is too old for this page: it has no DecompressionStream. Browsers since May 2023 have it.");
  }
  if (!document.createElement("canvas").getContext("webgl2")) {
    return fail("This browser offers no WebGL 2, which draws the images.");
  }

  /* What lies in an element as base64 of gzip, as bytes; the element is emptied. */
  const unpack = async (id) => {
    const text = find(id).textContent;
    find(id).remove();
    let bytes;
    if (Uint8Array.fromBase64) {
      bytes = Uint8Array.fromBase64(text);
    } else {
      const letters = atob(text);
      bytes = new Uint8Array(letters.length);
      for (let n = 0; n < letters.length; n++) bytes[n] = letters.charCodeAt(n);
    }
    return new Response(new Blob([bytes]).stream().pipeThrough(new DecompressionStream("gzip"))).arrayBuffer();
  };

  const page = JSON.parse(find("page").textContent);
  const script = document.createElement("script");
  script.textContent = new TextDecoder().decode(await unpack("viewer"));
  document.head.append(script);
  script.remove();
  const { Niivue, NVImage, MULTIPLANAR_TYPE, SHOW_RENDER, SLICE_TYPE } = globalThis.niivue;

  // -- the image ----------------------------------------------------------------------------------------------------

  const views = {
    axial: SLICE_TYPE.AXIAL, coronal: SLICE_TYPE.CORONAL, sagittal: SLICE_TYPE.SAGITTAL, all: SLICE_TYPE.MULTIPLANAR,
    solid: SLICE_TYPE.RENDER,
  };

  /* The viewer, but it draws nothing before all is there; letters at the edges do not reach over them, and stand beside
     the lines of the cross; and labels are not mixed: each point has the colour of the label that lies there. */
  class Viewer extends Niivue {
    ready = false;
    aside = 0;
    drawScene() {
      if (this.ready) super.drawScene();
    }
    drawSliceOrientationText([left, top, width, height], ...more) {
      const low = 0.3 * this.fontPx;
      this.aside = 0.8 * this.fontPx;
      super.drawSliceOrientationText([left + 4, top + 2, width - 8, height - 2 - low], ...more);
      this.aside = 0;
    }
    drawTextBelow([x, y], ...more) {
      super.drawTextBelow([x + this.aside, y], ...more);
    }
    drawTextAbove([x, y], ...more) {
      super.drawTextAbove([x + this.aside, y], ...more);
    }
    drawTextLeft([x, y], ...more) {
      super.drawTextLeft([x, y - this.aside], ...more);
    }
    drawTextRight([x, y], ...more) {
      super.drawTextRight([x, y - this.aside], ...more);
    }
    updateInterpolation(number, ...more) {
      const layers = number ? page.layers.slice(1) : page.layers.slice(0, 1);
      this.opts.isNearestInterpolation = layers.some((layer) => layer.kind === "labels");
      super.updateInterpolation(number, ...more);
    }
  }
  const nv = new Viewer({
    backColor: [0, 0, 0, 1],
    crosshairColor: [0.43, 0.9, 0.55, 0.8],
    crosshairWidthUnit: "mm",
    crosshairGap: 4,
    fontColor: [1, 0.84, 0.35, 1],
    selectionBoxColor: [1, 0.84, 0.35, 0.4],
    clipPlaneColor: [1, 1, 1, 0.15],
    atlasOutline: page.outline,
    dragAndDropEnabled: false,
    isRadiologicalConvention: !page.neurological,
    sagittalNoseLeft: true,
    showAllOrientationMarkers: true,
    isOrientationTextVisible: page.letters,
    sliceType: views[page.view],
    multiplanarLayout: MULTIPLANAR_TYPE.GRID,
    multiplanarShowRender: SHOW_RENDER.ALWAYS,
    multiplanarPadPixels: 4,
    viewModeHotKey: "",
    clipPlaneHotKey: "",
    cycleClipPlaneHotKey: "",
    logLevel: "error",
    loadingText: "",
  });
  for (const [name, bytes] of Object.entries(page.colormaps)) {
    const places = [...Array(256).keys()];
    const part = (n) => places.map((place) => parseInt(bytes.substr(6 * place + 2 * n, 2), 16));
    nv.addColormap(name, { R: part(0), G: part(1), B: part(2), A: places.map((place) => place >> 1), I: places });
  }
  await nv.attachToCanvas(find("canvas"));

  /* The viewer takes a volume of opacity 0 for one that is not there; outlines are, though. */
  const least = (opacity) => Math.max(opacity, 0.004);
  const layers = page.layers;
  for (const [number, layer] of layers.entries()) {
    const [low, high] = layer.window.map((end) => end * layer.factor);
    const colormap = layer.kind !== "intensities" ? "gray" : number ? "redyell" : layer.colormap;
    const buffer = await unpack(`volume${number}`);
    const volume = await NVImage.new(buffer, `${number}.nii`, colormap, least(layer.opacity), null, low, high);
    if (layer.kind === "labels") {
      const part = (n) => layer.labels.map((label) => label[2][n]);
      volume.setColormapLabel({ R: part(0), G: part(1), B: part(2), A: part(3), I: [...layer.labels.keys()] });
    }
    volume.frame4D = Math.min(page.first, volume.nFrame4D - 1);
    if (layer.signed) {
      Object.assign(volume, { colormapNegative: "blue2cyan", cal_minNeg: -high, cal_maxNeg: -low });
    }
    layer.volume = volume;
  }
  const [base, ...overlays] = layers;
  nv.volumes = layers.map((layer) => layer.volume);

  let waiting = false;
  const redraw = () => {
    if (waiting) return;
    waiting = true;
    requestAnimationFrame(() => {
      waiting = false;
      nv.updateGLVolume();
    });
  };
  const on = (id, event, action) => find(id).addEventListener(event, action);
  const digits = (value) => (value === 0 ? "0" : String(Number(value.toPrecision(5))));

  // -- view, sides, steps -------------------------------------------------------------------------------------------

  const chosen = (name) => document.querySelector(`input[name=${name}]:checked`).value;
  const choose = (name, value) => (document.querySelector(`input[name=${name}][value=${value}]`).checked = true);
  const showView = () => {
    nv.setSliceType(views[chosen("view")]);
    find("clip").hidden = !["all", "solid"].includes(chosen("view"));
    root.dataset.view = chosen("view");
    thin();
  };
  const showSide = () => {
    nv.opts.isRadiologicalConvention = chosen("side") === "right";
    nv.drawScene();
    root.dataset.convention = chosen("side") === "right" ? "radiological" : "neurological";
  };
  on("views", "change", showView);
  on("sides", "change", showSide);
  find("sides").hidden = !page.letters;

  const showStep = () => {
    const step = Number(find("step").value);
    for (const layer of layers) {
      if (layer.volume.nFrame4D > 1) nv.setFrame4D(layer.volume.id, Math.min(step, layer.volume.nFrame4D - 1));
    }
    const seconds = base.seconds === null ? "" : `, ${digits(step * base.seconds)} s`;
    const name = base.step[0].toUpperCase() + base.step.slice(1);
    find("stepname").textContent = `${name} ${step + 1} of ${base.volume.nFrame4D}${seconds}`;
    nv.createOnLocationChange();
  };
  const count = base.volume.nFrame4D;
  if (count > 1) {
    find("steps").hidden = false;
    find("step").max = count - 1;
    find("step").value = page.first;
    on("step", "input", showStep);
  }

  /* Lines of the cross are as thin as can be seen, however large the picture is. */
  const thin = () => {
    const slices = nv.screenSlices.filter((slice) => slice.fovMM[1]);
    const pixels = slices.map((slice) => Math.abs(slice.fovMM[0]) / slice.leftTopWidthHeight[2]);
    const width = 1.5 * devicePixelRatio * Math.max(...pixels);
    if (slices.length && Math.abs(width / nv.opts.crosshairWidth - 1) > 0.2) nv.setCrosshairWidth(width);
  };
  new ResizeObserver(() => requestAnimationFrame(thin)).observe(find("frame"));

  // -- window -------------------------------------------------------------------------------------------------------

  /* The smallest and largest value that a volume holds. */
  const extent = (layer) => {
    const { img, hdr } = layer.volume;
    let [low, high] = [Infinity, -Infinity];
    for (let n = 0; n < img.length; n++) {
      const value = img[n];
      if (value < low && value > -Infinity) low = value;
      if (value > high && value < Infinity) high = value;
    }
    if (!(low <= high)) return layer.window;
    const ends = [low, high].map((end) => (end * (hdr.scl_slope || 1) + (hdr.scl_inter || 0)) / layer.factor);
    return ends.sort((a, b) => a - b);
  };
  const showWindow = () => {
    for (const [n, id] of ["low", "high"].entries()) {
      find(id).value = find(`${id}slider`).value = digits(base.window[n]);
    }
    root.dataset.window = base.window.map(digits).join(" ");
  };
  const setWindow = (layer, low, high) => {
    if (!Number.isFinite(low) || !Number.isFinite(high)) return;
    layer.window = [Math.min(low, high), Math.max(low, high)];
    const [from, to] = layer.window.map((end) => end * layer.factor);
    Object.assign(layer.volume, { cal_min: from, cal_max: to });
    if (layer.signed) Object.assign(layer.volume, { cal_minNeg: -to, cal_maxNeg: -from });
    if (layer === base) showWindow();
    redraw();
  };
  if (base.kind === "intensities") {
    find("window").hidden = false;
    const ends = extent(base);
    const low = Math.min(ends[0], base.window[0]);
    const high = Math.max(ends[1], base.window[1]);
    for (const [n, id] of ["low", "high"].entries()) {
      Object.assign(find(`${id}slider`), { min: low, max: high, step: (high - low) / 1000 || 1 });
      const change = (event) => {
        const wanted = [...base.window];
        wanted[n] = Number(event.target.value);
        setWindow(base, ...wanted);
        find("preset").value = "";
      };
      on(`${id}slider`, "input", change);
      on(id, "change", change);
    }
    const hounsfield = ends[0] <= -500 && ends[0] >= -10000 && ends[1] >= 300;
    const presets = [["as opened", base.window], ["all values", ends], ...(hounsfield ? page.presets : [])];
    find("preset").append(new Option("", ""), ...presets.map(([name], n) => new Option(name, n)));
    find("preset").value = "0";
    on("preset", "change", () => find("preset").value && setWindow(base, ...presets[Number(find("preset").value)][1]));
    find("colormap").append(...Object.keys(page.colormaps).map((name) => new Option(name)));
    find("colormap").value = base.colormap;
    on("colormap", "change", () => {
      nv.setColormap(base.volume.id, find("colormap").value);
      setWindow(base, ...base.window);
    });
    nv.onIntensityChange = (volume) => {
      if (volume === base.volume) setWindow(base, volume.cal_min / base.factor, volume.cal_max / base.factor);
    };
  }

  // -- overlays -----------------------------------------------------------------------------------------------------

  const make = (name, properties = {}, ...children) => {
    const made = Object.assign(document.createElement(name), properties);
    made.append(...children);
    return made;
  };
  const swatch = (colour) => {
    const [box, square] = ["svg", "rect"].map((name) => document.createElementNS("http://www.w3.org/2000/svg", name));
    const facts = { width: "100%", height: "100%", rx: 2, fill: `rgb(${colour.slice(0, 3).join(" ")})` };
    for (const [name, value] of Object.entries(facts)) square.setAttribute(name, value);
    box.append(square);
    box.setAttribute("aria-hidden", "true");
    return box;
  };
  const legend = (layer) => {
    const rows = layer.labels.filter(([value]) => value !== 0);
    const lines = rows.map(([value, name, colour]) => make("li", {}, swatch(colour), `${value} ${name}`));
    const title = `${rows.length} ${rows.length === 1 ? "label" : "labels"}`;
    return make("details", {}, make("summary", { textContent: title }), make("ul", {}, ...lines));
  };
  const range = (layer) => {
    const fields = layer.window.map((end) => make("input", { type: "number", step: "any", value: digits(end) }));
    for (const [n, field] of fields.entries()) {
      field.setAttribute("aria-label", `${layer.name}, ${n ? "to" : "from"}`);
      field.addEventListener("change", () => setWindow(layer, ...fields.map((each) => Number(each.value))));
    }
    return make("div", { className: "row" }, make("span", { textContent: "Values" }), ...fields);
  };
  if (base.kind === "labels") find("sides").after(legend(base));
  for (const layer of overlays) {
    find("overlays").hidden = false;
    const shown = make("input", { type: "checkbox", checked: true });
    const opacity = make("input", { type: "range", min: 0, max: 1, step: 0.05, value: layer.opacity });
    opacity.setAttribute("aria-label", `Opacity of ${layer.name}`);
    shown.addEventListener("change", () => {
      layer.hidden = !shown.checked;
      nv.volumes = layers.filter((each) => !each.hidden).map((each) => each.volume);
      nv.setVolume(base.volume);
    });
    opacity.addEventListener("input", () => {
      layer.volume.opacity = least(Number(opacity.value));
      redraw();
    });
    find("overlays").append(
      make("label", { className: "row wide" }, make("span", { textContent: layer.name, title: layer.name }), shown),
      make("label", { className: "row" }, make("span", { textContent: "Opacity" }), opacity),
    );
    if (layer.kind === "labels") find("overlays").append(legend(layer));
    if (layer.kind === "intensities") find("overlays").append(range(layer));
  }

  // -- the cut ------------------------------------------------------------------------------------------------------

  const showCut = () => {
    const [depth, turn, tilt] = ["depth", "turn", "tilt"].map((id) => Number(find(id).value));
    nv.setClipPlane([find("cut").checked ? depth : 2, turn, tilt]);
  };
  on("clip", "input", (event) => {
    if (event.target !== find("cut")) find("cut").checked = true;
    showCut();
  });

  // -- the place under the cross ------------------------------------------------------------------------------------

  const valueAt = (layer, mm) => {
    const voxel = layer.volume.mm2vox(mm);
    if ([0, 1, 2].some((axis) => voxel[axis] < 0 || voxel[axis] >= layer.volume.dimsRAS[axis + 1])) return "";
    const values = layer.volume.getValues(...voxel, layer.volume.frame4D);
    if (layer.kind === "colours") return values.join(" ");
    if (layer.kind === "intensities") return digits(values[0] / layer.factor);
    const [value, name] = layer.labels[values[0]] ?? [values[0], ""];
    return value === 0 && layer !== base ? "" : `${value} ${name}`.trim();
  };
  nv.onLocationChange = ({ mm }) => {
    const sides = ["RL", "AP", "SI"].map((letters, n) => letters[mm[n] < 0 ? 1 : 0]);
    const known = sides.map((side, n) => `${side} ${Math.abs(mm[n]).toFixed(1)}`);
    const place = (page.letters ? known : [0, 1, 2].map((n) => mm[n].toFixed(1))).join("  ");
    const values = layers.map((layer) => valueAt(layer, [mm[0], mm[1], mm[2]])).filter((text) => text);
    find("place").textContent = `${place} mm    ${values.join("  ·  ")}`;
  };

  /* Arrow keys follow the picture: the letter that is on its left is where "left" goes. */
  const moves = () => {
    const left = nv.opts.isRadiologicalConvention ? 1 : -1;
    if (chosen("view") === "coronal") return { ArrowLeft: [left, 0, 0], ArrowUp: [0, 0, 1], PageUp: [0, 1, 0] };
    if (chosen("view") === "sagittal") return { ArrowLeft: [0, 1, 0], ArrowUp: [0, 0, 1], PageUp: [1, 0, 0] };
    return { ArrowLeft: [left, 0, 0], ArrowUp: [0, 1, 0], PageUp: [0, 0, 1] };
  };
  const opposite = { ArrowRight: "ArrowLeft", ArrowDown: "ArrowUp", PageDown: "PageUp" };
  const press = (event) => {
    const key = opposite[event.key] ?? event.key;
    const move = moves()[key]?.map((step) => (key === event.key ? step : -step));
    if (move === undefined || event.ctrlKey || event.altKey || event.metaKey) return;
    event.preventDefault();
    event.stopImmediatePropagation();
    if (chosen("view") === "solid") {
      const { renderAzimuth, renderElevation } = nv.scene;
      const turn = event.key.startsWith("Page") ? [0, 0] : { ArrowLeft: [-5, 0], ArrowUp: [0, 5] }[key];
      const sign = key === event.key ? 1 : -1;
      nv.setRenderAzimuthElevation(renderAzimuth + sign * turn[0], renderElevation + sign * turn[1]);
    } else {
      nv.moveCrosshairInVox(...move);
    }
  };
  find("frame").addEventListener("keydown", press, true);

  // -- as opened ----------------------------------------------------------------------------------------------------

  choose("view", page.view);
  choose("side", page.neurological ? "left" : "right");
  showView();
  showSide();
  if (base.kind === "intensities") showWindow();
  nv.setVolume(base.volume);
  if (count > 1) showStep();
  const sizes = base.volume.dimsRAS.slice(1, 4);
  nv.scene.crosshairPos = sizes.map((size) => (Math.floor(size / 2) + 0.5) / size); // in a voxel, as plot has it
  nv.ready = true;
  nv.drawScene();
  thin();
  nv.createOnLocationChange();
  find("message").hidden = true;
  globalThis.viewer = nv; // for whoever opens the console
  Object.assign(root.dataset, { dims: base.volume.hdr.dims.slice(1, 4).join("x"), steps: count, volumes: nv.volumes.length });
  requestAnimationFrame(() => requestAnimationFrame(() => (root.dataset.state = "loaded")));
})();
