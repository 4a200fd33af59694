/** The life of a process that serves a mount, from when it is mounted to when it is not. */

export interface Servable {
  readonly finished: Promise<void>;
  unmount(options?: { readonly lazy?: boolean }): Promise<void>;
}

/**
 * Serves until the mount has ended. The first SIGINT or SIGTERM unmounts; when the mount is busy it
 * stays, and `warn` says who holds it. The second takes it out of sight and leaves those processes
 * without it. `onReady` is called once signals are heard.
 */
export async function serveUntilUnmounted(
  mount: Servable,
  warn: (message: string) => void,
  onReady: () => void = () => undefined,
): Promise<void> {
  let signals = 0;
  let force = (): void => undefined;
  const forced = new Promise<void>((resolve) => (force = resolve));
  const onSignal = (): void => {
    signals++;
    const lazy = signals > 1;
    mount.unmount({ lazy }).then(
      () => {
        if (lazy) force();
      },
      (error: unknown) => {
        warn(error instanceof Error ? error.message : String(error));
      },
    );
  };
  process.on("SIGINT", onSignal);
  process.on("SIGTERM", onSignal);
  process.on("SIGHUP", onSignal);
  // The folder the daemon was started in is not its to keep busy.
  process.chdir("/");
  try {
    onReady();
    await Promise.race([mount.finished, forced]);
  } finally {
    process.removeListener("SIGINT", onSignal);
    process.removeListener("SIGTERM", onSignal);
    process.removeListener("SIGHUP", onSignal);
  }
}
