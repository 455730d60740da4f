// The numbers of the categories of memory. Mirrors Category in recompviz/core/steps/joint.py; up to `optimizer` it is allocated before the step.

export const CATEGORY = { parameter: 0, input: 2, target: 3, optimizer: 4, kept: 5, transient: 6, recomputed: 7, gradient: 8, parameterGradient: 9, loss: 10, workspace: 11 };
