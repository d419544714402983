// Figures per second, from what a server has counted since it started.

const sum = (counts) => Object.values(counts).reduce((all, one) => all + one, 0);

/** What happened between two looks at a model: per second, and how long requests took. */
export function between(before, after, seconds) {
  const counts = (name) => sum(after[name]) - sum(before[name]);
  const failed = (one) => Object.entries(one.requests).filter(([status]) => status >= "500").reduce((all, [, count]) => all + count, 0);
  const taken = Object.entries(after.buckets).map(([bound, count]) => [bound === "+Inf" ? Infinity : Number(bound), count - (before.buckets[bound] ?? 0)])
    .sort(([one], [other]) => one - other);
  return {
    requests: Math.max(0, counts("requests")) / seconds,
    refused: Math.max(0, counts("refusals")) / seconds,
    failed: Math.max(0, failed(after) - failed(before)) / seconds,
    median: quantile(taken, 0.5), slowest: quantile(taken, 0.95),
  };
}

/** A quantile of cumulative buckets [[bound, count]], straight between two bounds; NaN of nothing. */
export function quantile(buckets, share) {
  const all = buckets.at(-1)?.[1] ?? 0;
  if (!(all > 0)) return NaN;
  const wanted = share * all;
  const place = buckets.findIndex(([, count]) => count >= wanted);
  const [low, under] = place ? buckets[place - 1] : [0, 0];
  const [high, count] = buckets[place];
  if (high === Infinity) return low;
  return low + ((high - low) * (wanted - under)) / (count - under || 1);
}
