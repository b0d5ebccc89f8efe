// The plots of the operator view; nobody else loads it.
export { default } from 'uplot'
