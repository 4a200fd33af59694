/** A device's number in Linux' 32-bit encoding: 12 bits of major, 20 bits of minor number. */
export function deviceNumber(major: number, minor: number): number {
  return (((major & 0xfff) << 8) | (minor & 0xff) | ((minor & 0xfff00) << 12)) >>> 0;
}
