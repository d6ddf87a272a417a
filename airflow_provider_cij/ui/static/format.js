/** Numbers, times and durations as text. Pure functions. */

const LANGUAGE = "en-GB";
const number = new Intl.NumberFormat(LANGUAGE);
const date = new Intl.DateTimeFormat(LANGUAGE, { dateStyle: "medium" });
const dateTime = new Intl.DateTimeFormat(LANGUAGE, { dateStyle: "medium", timeStyle: "short" });

const MINUTE = 60;
const HOUR = 60 * MINUTE;
export const DAY = 24 * HOUR * 1000;

/** Return a count with thousands separators; `""` when it is not known. */
export const count = (value) => (value == null ? "" : number.format(value));

/** Return a change with its sign, such as `+1,234`. */
export const change = (value) => (value == null ? "" : `${value > 0 ? "+" : value < 0 ? "−" : "±"}${number.format(Math.abs(value))}`);

/** Return a share as a change in percent, such as `+2.5%`. */
export function percent(share) {
  if (share == null) return "";
  const value = Math.abs(share * 100);
  const digits = value >= 10 ? 0 : 1;
  return `${share > 0 ? "+" : share < 0 ? "−" : "±"}${value.toFixed(digits)}%`;
}

/** Return a number of seconds in its two largest units, such as `2 h 5 min`. */
export function duration(seconds) {
  if (seconds == null) return "";
  const total = Math.round(seconds);
  if (total < MINUTE) return `${total} s`;
  if (total < HOUR) return `${Math.floor(total / MINUTE)} min${total % MINUTE ? ` ${total % MINUTE} s` : ""}`;
  if (total < 24 * HOUR) return two(Math.floor(total / HOUR), "h", Math.floor((total % HOUR) / MINUTE), "min");
  return two(Math.floor(total / (24 * HOUR)), "d", Math.floor((total % (24 * HOUR)) / HOUR), "h");
}

const two = (large, unit, small, smaller) => `${large} ${unit}${small ? ` ${small} ${smaller}` : ""}`;

/** Return how long ago a moment was in its largest unit, such as `3 days ago`; or how far ahead it is. */
export function ago(moment, now) {
  if (moment == null) return "";
  const seconds = Math.abs(now - moment) / 1000;
  const [size, unit] =
    seconds < HOUR ? [MINUTE, "minute"] : seconds < 48 * HOUR ? [HOUR, "hour"] : [24 * HOUR, "day"];
  const amount = Math.floor(seconds / size);
  if (amount < 1) return "just now";
  const text = `${amount} ${unit}${amount > 1 ? "s" : ""}`;
  return moment > now ? `in ${text}` : `${text} ago`;
}

/** Return a moment as a date. */
export const day = (moment) => (moment == null ? "" : date.format(moment));

/** Return a moment as a date and time. */
export const moment = (value) => (value == null ? "" : dateTime.format(value));
