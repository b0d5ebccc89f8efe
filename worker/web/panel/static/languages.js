// What is offered by name where every language may be asked for; any other tag can be typed.

export const COMMON = (
  'en es fr de it pt pt-BR nl ja zh-Hans zh-Hant ko ar he fa hi bn ur ta te mr th vi id ms tr el ru uk pl cs sk hu ro ' +
  'bg sr hr sl sv da nb fi is et lv lt ca eu gl ga cy sw af fil'
).split(' ')
