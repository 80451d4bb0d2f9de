// Numbers as text.

const NUMBER = new Intl.NumberFormat("en-US");

/** @param {number} value */
export const counted = (value) => NUMBER.format(value);

/**
 * US dollars as the kernel writes them: two decimals, or up to four below a dollar.
 * @param {number} amount
 */
export function dollars(amount) {
  const cents = amount >= 1 || Math.abs(amount - Number(amount.toFixed(2))) < 1e-6;
  return `$${cents ? amount.toFixed(2) : amount.toFixed(4).replace(/0+$/, "")}`;
}

/**
 * A number of bytes with its unit.
 * @param {number} bytes
 */
export function sizeOf(bytes) {
  const units = ["bytes", "kB", "MB", "GB", "TB"];
  let unit = 0;
  let left = bytes;
  while (left >= 1000 && unit < units.length - 1) {
    left /= 1000;
    unit += 1;
  }
  return `${left >= 10 || unit === 0 ? Math.round(left) : left.toFixed(1)} ${units[unit]}`;
}
