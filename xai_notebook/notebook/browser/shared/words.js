// Numbers as they stand everywhere.

const NUMBER = new Intl.NumberFormat("en-US");

/** @param {number} value */
export const counted = (value) => NUMBER.format(value);

/**
 * US dollars as the kernel writes them: cents, and what is less only below a dollar.
 * @param {number} amount
 */
export function dollars(amount) {
  const cents = amount >= 1 || Math.abs(amount - Number(amount.toFixed(2))) < 1e-6;
  return `$${cents ? amount.toFixed(2) : amount.toFixed(4).replace(/0+$/, "")}`;
}

/**
 * Bytes in words.
 * @param {number} bytes
 */
export function sizeOf(bytes) {
  const units = ["bytes", "kB", "MB", "GB", "TB"];
  let place = 0;
  let left = bytes;
  while (left >= 1000 && place < units.length - 1) {
    left /= 1000;
    place += 1;
  }
  return `${left >= 10 || place === 0 ? Math.round(left) : left.toFixed(1)} ${units[place]}`;
}
