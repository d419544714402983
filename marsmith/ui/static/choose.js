// The module that fits best. Each has `fits`, which says how well: 0 for not at all.

/** The best of the modules for something, and the others that fit, best first. */
export function ranked(modules, what) {
  return modules.map((module) => [module.fits(what), module]).filter(([fit]) => fit > 0)
    .sort(([one], [other]) => other - one).map(([, module]) => module);
}

/** The answers in what was answered: of a request of several instances, each by itself. */
export function answers(answer) {
  const several = answer?.predictions ?? answer?.explanations;
  return Array.isArray(several) && Object.keys(answer).length === 1 ? several : [answer];
}
