/** The one table from what went wrong to the errno that a program sees through the mount. */
import { constants } from "node:os";
import { type ErrorCode, isReelError } from "../errors.ts";

/** A negative errno, as FUSE answers with; results that are not errors are never negative. */
export type Errno = number;

const { errno } = constants;

/** Linux numbers that Node's table leaves out. */
const ENOMEDIUM = -123;
const ESHUTDOWN = -108;

/** "No such attribute", on Linux. */
export const ENODATA: Errno = -errno.ENODATA;
export const ENOSYS: Errno = -errno.ENOSYS;
export const ENOENT: Errno = -errno.ENOENT;
export const ENOTDIR: Errno = -errno.ENOTDIR;
export const EISDIR: Errno = -errno.EISDIR;
export const EBADF: Errno = -errno.EBADF;
export const EIO: Errno = -errno.EIO;
export const EILSEQ: Errno = -errno.EILSEQ;
export const EPERM: Errno = -errno.EPERM;
export const EROFS: Errno = -errno.EROFS;
export const ERANGE: Errno = -errno.ERANGE;
export const EOPNOTSUPP: Errno = -errno.EOPNOTSUPP;
export const ETIMEDOUT: Errno = -errno.ETIMEDOUT;
export const ENFILE: Errno = -errno.ENFILE;

const ERRNO_OF_CODE: Readonly<Record<ErrorCode, Errno>> = {
  damaged: EIO,
  unsupported: EOPNOTSUPP,
  io: EIO,
  "not-found": ENOENT,
  exists: -errno.EEXIST,
  "not-a-directory": ENOTDIR,
  "is-a-directory": EISDIR,
  "not-empty": -errno.ENOTEMPTY,
  "cross-device": -errno.EXDEV,
  invalid: -errno.EINVAL,
  "out-of-range": -errno.EINVAL,
  "name-too-long": -errno.ENAMETOOLONG,
  "read-only": EROFS,
  "no-permission": -errno.EACCES,
  "no-space": -errno.ENOSPC,
  "end-of-medium": -errno.ENOSPC,
  "no-medium": ENOMEDIUM,
  busy: -errno.EBUSY,
  "too-small": -errno.ENOSPC,
  timeout: ETIMEDOUT,
  aborted: -errno.EINTR,
  closed: ESHUTDOWN,
  "no-attribute": ENODATA,
  internal: EIO,
};

/** The errno of whatever was thrown; EIO for what is no ReelError. */
export function errnoOf(error: unknown): Errno {
  return isReelError(error) ? ERRNO_OF_CODE[error.code] : EIO;
}

/** A file that is being read is there: what is not found is the tape that its contents are on. */
export function errnoOfRead(error: unknown): Errno {
  return isReelError(error, "not-found") ? EIO : errnoOf(error);
}
