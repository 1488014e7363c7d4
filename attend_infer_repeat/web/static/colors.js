/** The colors of step 1, 2, 3, ...: colors.READABLE_COLORS. A number always stands beside them. */
export const STEP_COLORS = [
  '#e0483e',
  '#22a05b',
  '#3f7fe8',
  '#e08a1e',
  '#cf4fc0',
  '#16a3b8',
  '#b39b12',
  '#8d5bd0',
];

/**
 * @param {number} step from 1
 * @returns {string}
 */
export function stepColor(step) {
  return STEP_COLORS[(step - 1) % STEP_COLORS.length];
}
