/**
 * How long a real drive would take, without waiting: for plans and estimates, never a promise.
 *
 * Tape is serpentine: a wrap runs from one end to the other, the next comes back beside it, so two
 * blocks a wrap apart in order may lie side by side. Locate times follow the formula that CERN's
 * tape archive fitted to LTO-7 drives: a constant, a step for each thing that changes (wrap, band,
 * half of the tape, direction, a step back in the direction of reading), and a part in proportion
 * to the way along the tape. The steps are taken as they are for every drive; the speed along the
 * tape is set so that the average locate from the load point is the published one.
 */
import { ReelError } from "../errors.ts";

interface TapePlace {
  readonly wrap: number;
  /** Position along the tape, in the formula's units. */
  readonly lpos: number;
  /** The wrap is written away from the load point. */
  readonly forward: boolean;
}

export interface TapeModel {
  readonly name: string;
  /** From the cartridge in the mouth to ready, at the load point. */
  readonly loadSeconds: number;
  readonly unloadSeconds: number;
  readonly wraps: number;
  readonly bytesPerWrap: number;
  /** A gap up to this size is read through sooner than located over. */
  readonly readThroughGapBytes: number;
  rewindSeconds(fromByte: number): number;
  locateSeconds(fromByte: number, toByte: number): number;
  transferSeconds(bytes: number): number;
  /** Where a byte lies; those past the end of the tape lie at its end. */
  placeOf(byte: number): TapePlace;
}

/** One step of what a drive does. */
export type TapeMove =
  | { readonly locateTo: number }
  /** Bytes read or written from where the tape stands. */
  | { readonly read: number };

export const TAPE_MODEL_NAMES = [
  "LTO-7",
  "LTO-8",
  "LTO-9",
  "LTO-9-HH",
  "LTO-10",
  "virtual",
] as const;
type TapeModelName = (typeof TAPE_MODEL_NAMES)[number];

/** Of the formula: seconds for each thing that changes on the way. */
const LOCATE = {
  base: 4.29,
  wrapChange: 6.69,
  bandChange: 3.2,
  landingZoneChange: -6.04,
  directionChange: 5.22,
  stepBack: 11.32,
} as const;
const LPOS_FIRST = 2696;
const LPOS_LAST = 171_097;
const LPOS_RANGE = LPOS_LAST - LPOS_FIRST;
const LPOS_MIDDLE = LPOS_FIRST + LPOS_RANGE / 2;
const BANDS = 4;
/** Places on each wrap that the average locate is taken over. */
const CALIBRATION_PLACES = 64;

interface DriveFigures {
  readonly capacityBytes: number;
  readonly wraps: number;
  readonly bytesPerSecond: number;
  readonly loadSeconds: number;
  readonly unloadSeconds: number;
  readonly locateAverageSeconds: number;
  readonly rewindAverageSeconds: number;
}

const LTO9_TAPE = { capacityBytes: 18e12, wraps: 280 } as const;

/**
 * IBM, "Performance specifications for LTO tape drives"; LTO-9 half height from the TS2290 manual.
 * Where a range is published its middle is taken. The wraps of LTO-10 are its 15,104 tracks
 * written 32 at a time.
 */
const FIGURES: Readonly<Record<Exclude<TapeModelName, "virtual">, DriveFigures>> = {
  "LTO-7": {
    capacityBytes: 6e12,
    wraps: 112,
    bytesPerSecond: 300e6,
    loadSeconds: 15,
    unloadSeconds: 20,
    locateAverageSeconds: 56,
    rewindAverageSeconds: 60,
  },
  "LTO-8": {
    capacityBytes: 12e12,
    wraps: 208,
    bytesPerSecond: 360e6,
    loadSeconds: 15,
    unloadSeconds: 24,
    locateAverageSeconds: 59,
    rewindAverageSeconds: 59,
  },
  "LTO-9": {
    ...LTO9_TAPE,
    bytesPerSecond: 400e6,
    loadSeconds: 17,
    unloadSeconds: 30,
    locateAverageSeconds: 45,
    rewindAverageSeconds: 55,
  },
  "LTO-9-HH": {
    ...LTO9_TAPE,
    bytesPerSecond: 300e6,
    loadSeconds: 16,
    unloadSeconds: 56,
    locateAverageSeconds: 65,
    rewindAverageSeconds: 62,
  },
  "LTO-10": {
    capacityBytes: 30e12,
    wraps: 472,
    bytesPerSecond: 400e6,
    loadSeconds: 12,
    unloadSeconds: 27,
    locateAverageSeconds: 69,
    rewindAverageSeconds: 68.5,
  },
};

/** A tape that is a file: nothing takes time, and no gap is worth reading. */
const VIRTUAL: TapeModel = {
  name: "virtual",
  loadSeconds: 0,
  unloadSeconds: 0,
  wraps: 1,
  bytesPerWrap: Number.MAX_SAFE_INTEGER,
  readThroughGapBytes: 0,
  rewindSeconds: () => 0,
  locateSeconds: () => 0,
  transferSeconds: () => 0,
  placeOf: (byte) => ({
    wrap: 0,
    lpos: LPOS_FIRST + (byte / Number.MAX_SAFE_INTEGER) * LPOS_RANGE,
    forward: true,
  }),
};

/**
 * The model of a drive by its name (capitals or not).
 * @throws "invalid" for a name not in TAPE_MODEL_NAMES.
 */
export function tapeModel(name: string): TapeModel {
  const known = TAPE_MODEL_NAMES.find((each) => each.toLowerCase() === name.toLowerCase());
  if (known === undefined) {
    throw new ReelError(
      "invalid",
      `no drive is called "${name}": choose one of ${TAPE_MODEL_NAMES.join(", ")}`,
    );
  }
  const model = models.get(known) ?? makeModel(known);
  models.set(known, model);
  return model;
}

/** Those that were asked for: calibrating takes a moment. */
const models = new Map<TapeModelName, TapeModel>();

function makeModel(name: TapeModelName): TapeModel {
  return name === "virtual" ? VIRTUAL : modelOf(name, FIGURES[name]);
}

/** What a sequence of moves takes, from the load point of a loaded tape on. */
export function estimateSeconds(model: TapeModel, moves: Iterable<TapeMove>): number {
  let seconds = 0;
  let atByte = 0;
  for (const move of moves) {
    if ("locateTo" in move) {
      seconds += model.locateSeconds(atByte, move.locateTo);
      atByte = move.locateTo;
    } else {
      seconds += model.transferSeconds(move.read);
      atByte += move.read;
    }
  }
  return seconds;
}

function modelOf(name: string, figures: DriveFigures): TapeModel {
  const bytesPerWrap = figures.capacityBytes / figures.wraps;
  const wrapsPerBand = figures.wraps / BANDS;
  const placeOf = (byte: number): TapePlace => placeOn(bytesPerWrap, figures.wraps, byte);
  const stepsBetween = (from: TapePlace, to: TapePlace): number =>
    locateSteps(from, to, wrapsPerBand);
  const locateRate = locateSecondsPerLpos(figures, stepsBetween);
  // The average place is the middle of the tape.
  const rewindRate = (figures.rewindAverageSeconds - LOCATE.base) / (LPOS_RANGE / 2);
  return {
    name,
    loadSeconds: figures.loadSeconds,
    unloadSeconds: figures.unloadSeconds,
    wraps: figures.wraps,
    bytesPerWrap,
    readThroughGapBytes: Math.floor(LOCATE.base * figures.bytesPerSecond),
    placeOf,
    rewindSeconds: (fromByte) =>
      fromByte === 0 ? 0 : LOCATE.base + rewindRate * (placeOf(fromByte).lpos - LPOS_FIRST),
    locateSeconds: (fromByte, toByte) => {
      if (fromByte === toByte) return 0;
      const from = placeOf(fromByte);
      const to = placeOf(toByte);
      return stepsBetween(from, to) + locateRate * Math.abs(from.lpos - to.lpos);
    },
    transferSeconds: (bytes) => bytes / figures.bytesPerSecond,
  };
}

function placeOn(bytesPerWrap: number, wraps: number, byte: number): TapePlace {
  const along = Math.min(Math.max(byte / bytesPerWrap, 0), wraps);
  const wrap = Math.min(Math.floor(along), wraps - 1);
  const forward = wrap % 2 === 0;
  const part = along - wrap;
  return { wrap, lpos: LPOS_FIRST + (forward ? part : 1 - part) * LPOS_RANGE, forward };
}

/** The part of a locate that does not depend on how far it is. */
function locateSteps(from: TapePlace, to: TapePlace, wrapsPerBand: number): number {
  let seconds: number = LOCATE.base;
  if (from.wrap !== to.wrap) seconds += LOCATE.wrapChange;
  if (Math.floor(from.wrap / wrapsPerBand) !== Math.floor(to.wrap / wrapsPerBand)) {
    seconds += LOCATE.bandChange;
  }
  if (from.lpos < LPOS_MIDDLE !== to.lpos < LPOS_MIDDLE) seconds += LOCATE.landingZoneChange;
  if (from.forward !== to.forward) seconds += LOCATE.directionChange;
  else if (to.forward ? to.lpos < from.lpos : to.lpos > from.lpos) seconds += LOCATE.stepBack;
  return seconds;
}

/** The speed along the tape with which the average locate from the load point is the published. */
function locateSecondsPerLpos(
  figures: DriveFigures,
  stepsBetween: (from: TapePlace, to: TapePlace) => number,
): number {
  const loadPoint: TapePlace = { wrap: 0, lpos: LPOS_FIRST, forward: true };
  let stepSeconds = 0;
  let distance = 0;
  for (let wrap = 0; wrap < figures.wraps; wrap++) {
    for (let place = 0; place < CALIBRATION_PLACES; place++) {
      const along = ((place + 0.5) / CALIBRATION_PLACES) * LPOS_RANGE;
      stepSeconds += stepsBetween(loadPoint, {
        wrap,
        lpos: LPOS_FIRST + along,
        forward: wrap % 2 === 0,
      });
      distance += along;
    }
  }
  const places = figures.wraps * CALIBRATION_PLACES;
  return (figures.locateAverageSeconds - stepSeconds / places) / (distance / places);
}
