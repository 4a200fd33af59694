/** Mode parameters: pages as tables of fields, which of those a host may change, what they are. */
import { build, encodeFields, setAllBits, number, bits, flag, type Layout } from "./fields.ts";

/** Page formats of SPC-4: the short one, and the one with a subpage. */
export const PAGE_HEADER = {
  savable: flag(0, 7),
  hasSubpage: flag(0, 6),
  code: bits(0, 5, 0),
  length: number(1, 1),
} as const;
export const PAGE_HEADER_BYTES = 2;
export const SUBPAGE_HEADER = { subpage: number(1, 1), length: number(2, 2) } as const;
export const SUBPAGE_HEADER_BYTES = 4;

export interface ModePage {
  readonly name: string;
  readonly code: number;
  readonly subpage: number;
  readonly fields: Layout;
  /** As the device starts with it, header included. */
  readonly defaults: Uint8Array;
  /** Ones where a host may change the bit; the header's bytes are those of the page. */
  readonly changeable: Uint8Array;
  /** Writes what follows the device rather than the host (a size, an address) into a page. */
  readonly update: (page: Uint8Array) => void;
}

interface PageSpecification<L extends Layout> {
  readonly name: string;
  readonly code: number;
  readonly subpage?: number;
  /** With the header. */
  readonly sizeBytes: number;
  readonly fields: L;
  readonly defaults?: { readonly [Name in keyof L]?: number | boolean };
  readonly changeable?: readonly (keyof L & string)[];
  readonly live?: () => { readonly [Name in keyof L]?: number | boolean };
}

export function modePage<L extends Layout>(specification: PageSpecification<L>): ModePage {
  const { name, code, subpage = 0, sizeBytes, fields, live } = specification;
  const defaults = build(fields, sizeBytes, specification.defaults ?? {});
  const changeable = new Uint8Array(sizeBytes);
  for (const each of specification.changeable ?? []) {
    const field = fields[each];
    if (field !== undefined) setAllBits(field, changeable);
  }
  for (const page of [defaults, changeable]) {
    encodeFields(PAGE_HEADER, page, { code, hasSubpage: subpage !== 0 });
    if (subpage === 0) {
      encodeFields(PAGE_HEADER, page, { length: sizeBytes - PAGE_HEADER_BYTES });
    } else {
      encodeFields(SUBPAGE_HEADER, page, { subpage, length: sizeBytes - SUBPAGE_HEADER_BYTES });
    }
  }
  const update = (page: Uint8Array): void => {
    if (live !== undefined) encodeFields(fields, page, live());
  };
  return { name, code, subpage, fields, defaults, changeable, update };
}

/** The mode pages of one device, and what hosts have made of them. */
export class ModePages {
  readonly pages: readonly ModePage[];
  readonly #current = new Map<ModePage, Uint8Array>();

  constructor(pages: readonly ModePage[]) {
    this.pages = [...pages].sort((a, b) => a.code - b.code || a.subpage - b.subpage);
  }

  find(code: number, subpage: number): ModePage | undefined {
    return this.pages.find((page) => page.code === code && page.subpage === subpage);
  }

  current(page: ModePage): Uint8Array {
    const bytes = (this.#current.get(page) ?? page.defaults).slice();
    page.update(bytes);
    return bytes;
  }

  defaults(page: ModePage): Uint8Array {
    const bytes = page.defaults.slice();
    page.update(bytes);
    return bytes;
  }

  /** @returns whether anything is different now. */
  set(page: ModePage, bytes: Uint8Array): boolean {
    const changed = Buffer.compare(this.current(page), bytes) !== 0;
    this.#current.set(page, Uint8Array.from(bytes));
    return changed;
  }

  reset(): void {
    this.#current.clear();
  }
}

// Pages that drive and changer share -------------------------------------------------------------

/** Control (SPC-4): one task set, fixed-format sense, unit attentions told once. */
export function controlPage(): ModePage {
  return modePage({
    name: "Control",
    code: 0x0a,
    sizeBytes: 12,
    fields: {
      taskSetType: bits(2, 7, 5),
      descriptorSense: flag(2, 2),
      queueAlgorithm: bits(3, 7, 4),
      attentionInterlock: bits(4, 5, 4),
    },
  });
}

/** Informational exceptions (SPC-4): TapeAlert is read from its log page, not reported unasked. */
export function informationalExceptionsPage(): ModePage {
  return modePage({
    name: "Informational Exceptions Control",
    code: 0x1c,
    sizeBytes: 12,
    fields: { disabled: flag(2, 3), test: flag(2, 2), method: bits(3, 3, 0) },
    defaults: { disabled: true },
  });
}
