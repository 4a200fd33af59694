#!/usr/bin/env node
/** What `reelfs` starts: the joined command (scripts/bundle.ts), loaded with its compiled code. */
import { createRequire } from "node:module";
import { dirname } from "node:path";
import { fileURLToPath } from "node:url";
import { takeCompiledCode } from "./lean-heap.ts";
import { requireOfParts } from "./part-code.ts";

takeCompiledCode();
const folder = dirname(fileURLToPath(import.meta.url));
requireOfParts(folder, createRequire(import.meta.url))("./command.js");
