// The server's time of day: what a row says of "in two minutes" must not depend on how this computer's clock is set.

const TOLERATED_MS = 3_000

let skew = 0

export const now = () => Date.now() + skew

// *time*: the server's, of something that was just received. Small differences are the way it took.
export function heardAt(time) {
  const difference = Date.parse(time) - Date.now()
  if (Math.abs(difference - skew) > TOLERATED_MS) skew = Math.abs(difference) > TOLERATED_MS ? difference : 0
}
