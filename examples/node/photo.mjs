// Photo files → pixels, by the rules of kfood/photo_files.py, with sharp: upright by EXIF and XMP, transparent parts on
// white, the high 8 of 16 bits, colour profiles not applied, limits known before anything is decoded. What sharp would
// read in another way is refused by name: CMYK, GIF, TIFF, AVIF and HEIC.

import { readFile, stat } from "node:fs/promises";
import { inflateSync } from "node:zlib";
import sharp from "sharp";

const MAX_PIXELS = 64_000_000;
const MAX_BYTES = 64_000_000;
const FORMATS = ["jpeg", "png", "webp"];

/** A photo (path or Buffer: JPEG, PNG, WebP) → {data: Uint8Array, height, width}: RGB, a row after the other. */
export async function decodePhoto(photo) {
  const what = typeof photo === "string" ? photo : `photo of ${photo?.length} bytes`;
  const refuse = (expected, received) => {
    throw new Error(`${what}: expected ${expected}, received ${received}.`);
  };
  const missing = () => refuse("a photo", "no such file");
  const size = typeof photo === "string" ? (await stat(photo).catch(missing)).size : photo.length;
  if (size > MAX_BYTES) refuse(`at most ${MAX_BYTES} bytes`, size);
  const file = typeof photo === "string" ? await readFile(photo) : photo;
  if (!file.length) refuse("a photo", "nothing");
  const unreadable = (error) => refuse("a photo", `none that can be read (${error.message.trim().split("\n")[0]})`);
  const image = sharp(file, { ignoreIcc: true, limitInputPixels: MAX_PIXELS });
  const about = await image.metadata().catch(unreadable);
  if (!FORMATS.includes(about.format)) refuse(`a photo in ${FORMATS.join(", ")}`, about.format);
  if (about.space === "cmyk") refuse("a photo in RGB or grey", "one in CMYK");
  if (about.width * about.height > MAX_PIXELS) refuse(`at most ${MAX_PIXELS} pixels`, `${about.width} × ${about.height}`);
  // An animation's first frame alone is read.
  const { data, info } = await image.toColourspace("srgb").raw({ depth: "uchar" })
    .toBuffer({ resolveWithObject: true }).catch(unreadable);
  // Of a JPEG's several EXIF segments sharp finds the first, of a PNG's those before the pixels.
  const { exif, xmp } = { jpeg: jpegMarks, png: pngMarks }[about.format]?.(file, refuse) ?? about;
  return turned(onWhite(data, info.channels), info, orientation(exif, xmp));
}

/** {exif, xmp} of a JPEG, its EXIF's segments joined. */
function jpegMarks(file) {
  const marks = {};
  for (let at = 2; at + 4 <= file.length; ) {
    const marker = file[at + 1];
    if (file[at] !== 0xff || marker === 0xff || marker === 0) at += 1; // filled up
    else if (marker === 0x01 || (marker >= 0xd0 && marker <= 0xd9)) at += 2; // without content
    else if (marker === 0xda) break; // the pixels
    else {
      const content = file.subarray(at + 4, at + 2 + file.readUInt16BE(at + 2));
      const starts = (name) => marker === 0xe1 && content.toString("latin1", 0, name.length) === name;
      if (starts("Exif\0\0")) marks.exif = Buffer.concat([marks.exif ?? Buffer.alloc(0), content.subarray(6)]);
      if (starts("http://ns.adobe.com/xap/1.0/\0")) marks.xmp = content;
      at += 2 + file.readUInt16BE(at + 2);
    }
  }
  return marks;
}

/** {exif, xmp} of a PNG, before or after its pixels. */
function pngMarks(file, refuse) {
  const marks = {};
  for (let at = 8; at + 12 <= file.length; ) {
    const length = file.readUInt32BE(at);
    const kind = file.toString("latin1", at + 4, at + 8);
    const content = file.subarray(at + 8, at + 8 + length);
    const name = /^[itz](EXt|TXt)$/.test(kind) ? content.subarray(0, 80).toString("latin1").split("\0")[0] : "";
    if (kind === "eXIf") marks.exif = content;
    if (name === "Raw profile type exif") refuse("EXIF in a PNG's eXIf", "it as text");
    if (name === "XML:com.adobe.xmp") {
      const text = content.subarray(name.length + 1);
      if (kind === "zTXt") marks.xmp = inflateSync(text.subarray(1), { maxOutputLength: MAX_BYTES });
      if (kind === "tEXt") marks.xmp = text;
      if (kind === "iTXt") {
        const start = text.indexOf(0, text.indexOf(0, 2) + 1) + 1; // behind a language and a translated name
        marks.xmp = text[0] ? inflateSync(text.subarray(start), { maxOutputLength: MAX_BYTES }) : text.subarray(start);
      }
    }
    at += 12 + length;
  }
  return marks;
}

/** 1 (upright) … 8, of EXIF, or where that has no orientation, of XMP; 1 where neither has. */
function orientation(exif, xmp) {
  const valid = (mark) => (mark >= 1 && mark <= 8 ? mark : 1);
  let tiff = exif ?? Buffer.alloc(0);
  for (let times = 0; times < 2 && tiff.toString("latin1", 0, 6) === "Exif\0\0"; times++) tiff = tiff.subarray(6);
  const order = { "II*\0": "LE", "MM\0*": "BE" }[tiff.toString("latin1", 0, 4)];
  if (order && tiff.length >= 8) {
    const short = (at) => tiff[`readUInt16${order}`](at);
    const long = (at) => tiff[`readUInt32${order}`](at);
    const start = long(4);
    const count = start + 2 <= tiff.length ? short(start) : 0;
    let found;
    for (let entry = start + 2; entry + 12 <= tiff.length && entry < start + 2 + 12 * count; entry += 12) {
      // Of kind 3 and 8 are the short integers, of 4 and 9 the long ones.
      if (short(entry) === 0x0112) found = [3, 8].includes(short(entry + 2)) ? short(entry + 8) : long(entry + 8);
    }
    if (found !== undefined) return valid(found);
  }
  return valid(Number(xmp?.toString("latin1").match(/tiff:Orientation(?:="|>)([0-9])/)?.[1] ?? 1));
}

/** Levels of 1, 2, 3 or 4 channels → of 3. */
function onWhite(data, channels) {
  if (channels === 3) return data;
  const colours = channels < 3 ? 1 : 3;
  const made = new Uint8Array((data.length / channels) * 3);
  for (let from = 0, to = 0; from < data.length; from += channels) {
    const alpha = channels % 2 ? 255 : data[from + colours];
    for (let c = 0; c < 3; c++) {
      const level = data[from + Math.min(c, colours - 1)];
      made[to++] = Math.floor((level * alpha + 255 * (255 - alpha) + 127) / 255);
    }
  }
  return made;
}

/** Pixels as they lie → upright. */
function turned(data, { width, height }, mark) {
  if (mark === 1) return { data, height, width };
  const [rows, columns] = mark >= 5 ? [width, height] : [height, width];
  const made = new Uint8Array(data.length);
  for (let y = 0, to = 0; y < rows; y++) {
    for (let x = 0; x < columns; x++) {
      const down = [3, 4, 7, 8].includes(mark) ? rows - 1 - y : y;
      const right = [2, 3, 6, 7].includes(mark) ? columns - 1 - x : x;
      const from = 3 * (mark >= 5 ? right * width + down : down * width + right);
      for (let c = 0; c < 3; c++) made[to++] = data[from + c];
    }
  }
  return { data: made, height: rows, width: columns };
}
