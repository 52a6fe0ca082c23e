// Photo files → pixels, by the browser; kfood/photo_files.py says the rules.

const MOST_PIXELS = 2e6; // a larger photo is reduced before the encoder reduces it further, which takes memory by its size

/** A photo's file → {data: bytes, RGB, height, width}: upright, transparent parts on white, colour profiles not applied. */
export async function pixels(file) {
  const options = { imageOrientation: "from-image", colorSpaceConversion: "none" };
  const bitmap = await createImageBitmap(file, options).catch(() => {
    throw new Error(`photo: expected a photo that this browser can read, received ${file.name || "none"}.`);
  });
  const times = Math.ceil(Math.sqrt((bitmap.width * bitmap.height) / MOST_PIXELS));
  const [width, height] = [bitmap.width, bitmap.height].map((side) => Math.max(1, Math.round(side / times)));
  const canvas = Object.assign(document.createElement("canvas"), { width, height });
  const context = canvas.getContext("2d", { alpha: false, willReadFrequently: true });
  Object.assign(context, { fillStyle: "white", imageSmoothingQuality: "high" });
  context.fillRect(0, 0, width, height);
  context.drawImage(bitmap, 0, 0, width, height);
  bitmap.close();
  const { data } = context.getImageData(0, 0, width, height);
  const made = new Uint8Array(width * height * 3);
  for (let from = 0, to = 0; from < data.length; from += 4) {
    made[to++] = data[from];
    made[to++] = data[from + 1];
    made[to++] = data[from + 2];
  }
  return { data: made, height, width };
}
