/** What goes in and comes out of a SCSI device here, whoever carries it. */

export const STATUS = {
  good: 0x00,
  checkCondition: 0x02,
  busy: 0x08,
  reservationConflict: 0x18,
} as const;

export interface ScsiAnswer {
  /** SAM status byte. */
  readonly status: number;
  /** With CHECK CONDITION, always: 18 bytes of fixed-format sense data. */
  readonly sense?: Uint8Array | undefined;
  /** Also with CHECK CONDITION: what was read before it. Never longer than the CDB allows. */
  readonly dataIn: Uint8Array;
  /** Bytes that the CDB asked to move, in or out, and that were not moved; absent: none. */
  readonly residualBytes?: number | undefined;
}

/**
 * One SCSI device. Commands are carried out one at a time in the order given; `execute` never
 * rejects. A nexus is who asks: for the device a name that stays the same from command to command
 * (for iSCSI: initiator name, session id and target portal).
 */
export interface ScsiDevice {
  execute(cdb: Uint8Array, dataOut: Uint8Array, nexus: string): Promise<ScsiAnswer>;
}
