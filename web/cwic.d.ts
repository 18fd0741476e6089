/** What is wrong with a file, with the weights, or with what was asked; the message names the field and both values. */
export class CwicError extends Error {}

export interface Info {
  /** Pixels, 1 to 2^24 - 1. */
  width: number;
  height: number;
  /** The file's mode; pixels come as RGBA whatever it is. */
  mode: "L" | "RGB" | "LA" | "RGBA";
  /** Whether all colours are grey. */
  grey: boolean;
  /** Whether the pixels are those that the file was made of. */
  lossless: boolean;
  /** The rate parameter t, -4 to 4; 0 if the file is lossless. */
  rate: number;
  family: "cwc1" | "cw18" | "pixl";
  /** The model's id, 12 hexadecimal digits; null if the file is lossless and needs none. */
  model: string | null;
}

export interface Picture extends Info {
  /** RGBA, 4 * width * height, not premultiplied: as ImageData takes it. Pixels lie as in the file: orientation, if
   * `exif` has one, is not applied. */
  data: Uint8ClampedArray;
  /** False if the file was cut short, and `partial` set. */
  complete: boolean;
  /** How many rows, from the top, there are to see: all, but of a lossless file cut short. */
  rows: number;
  /** From the TIFF header on. */
  exif?: Uint8Array;
  icc?: Uint8Array;
  /** UTF-8. */
  xmp?: Uint8Array;
  /** Pixels per inch, horizontal and vertical. */
  dpi?: [number, number];
}

export interface Options {
  /**
   * Weights of the model that the file names: the bytes of its file (`ID.weights`), a function that gives them for an
   * id, or the folder that they lie in, as a URL that ends in a slash. By default they are fetched from `dist/` beside
   * this module, once for each model, and only if a file needs them; browsers keep them in a Cache, `cwic-weights`.
   */
  weights?: Uint8Array | ArrayBuffer | string | URL | null
    | ((id: string) => Uint8Array | ArrayBuffer | Promise<Uint8Array | ArrayBuffer>);
  /** Takes a file cut short, and shows what arrived: the layers before the cut, grey if there is none; exact pixels and
   * alpha row by row, grey and opaque where they are missing. */
  partial?: boolean;
  /** The compiled decoder, if it is not to be fetched from `dist/cwic.wasm` beside this module. */
  module?: WebAssembly.Module | Promise<WebAssembly.Module>;
  /** Larger pictures, counted with sides rounded up to multiples of 16, are refused: 2^28 by default, 2^30 at most. */
  maxPixels?: number;
}

/** What a file says about its picture; its first 46 bytes suffice. Throws CwicError. */
export function info(bytes: Uint8Array | ArrayBuffer): Info;

/** Fetches what decoding a file will need: the decoder, and weights if the file names a model; its first 46 bytes suffice.
 * Rejects with CwicError. */
export function prepare(bytes: Uint8Array | ArrayBuffer, options?: Pick<Options, "weights" | "module">): Promise<unknown>;

/** Decodes a file; the work itself, once the weights are there, is done at once, so best in a worker. Rejects with
 * CwicError. */
export function decode(bytes: Uint8Array | ArrayBuffer, options?: Options): Promise<Picture>;
