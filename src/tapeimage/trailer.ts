/** The trailer: one JSON object in an image's last record. Its presence says the image is whole. */
import { ReelError } from "../errors.ts";
import { decodeExceptions, type ExceptionMembers } from "./exceptions.ts";
import { decodeHeaderJson, type ImageHeader } from "./header.ts";
import { asNumber, asObject, asString, parseJson } from "./json.ts";

export interface ImageTrailer extends ExceptionMembers {
  readonly format: "reelfs-trailer";
  readonly uuid: string;
  readonly state: "complete";
  readonly finished: string;
  /** Records of the image, trailer included. */
  readonly records: number;
  /** How many records before the trailer the header lies. */
  readonly headerRecordsBack: number;
  readonly rawBytes: number;
  readonly storedBytes: number;
  readonly imageHash: string;
  /** Of an image whose map follows its data: the header, with all its numbers. */
  readonly header?: ImageHeader | undefined;
}

export function encodeTrailer(trailer: ImageTrailer): Buffer {
  return Buffer.from(JSON.stringify(trailer, undefined, 1), "utf8");
}

/** @throws ReelError "damaged" when a field is missing or makes no sense. */
export function decodeTrailer(bytes: Uint8Array, where: string): ImageTrailer {
  const json = asObject(parseJson(bytes, where), where);
  if (json["format"] !== "reelfs-trailer" || json["state"] !== "complete") {
    throw new ReelError("damaged", `${where}: not the trailer of an image`);
  }
  const { header } = json;
  return {
    format: "reelfs-trailer",
    uuid: asString(json, "uuid", where),
    state: "complete",
    finished: asString(json, "finished", where),
    records: asNumber(json, "records", where),
    headerRecordsBack: asNumber(json, "headerRecordsBack", where),
    rawBytes: asNumber(json, "rawBytes", where),
    storedBytes: asNumber(json, "storedBytes", where),
    imageHash: asString(json, "imageHash", where),
    ...decodeExceptions(json),
    ...(header === undefined ? {} : { header: decodeHeaderJson(asObject(header, where), where) }),
  };
}
