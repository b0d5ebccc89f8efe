// What the panel uses of Preact, its hooks and htm, as one file: nothing in the browser then needs a bare import name.
import { h, render } from 'preact'
import { useEffect, useMemo, useRef, useState } from 'preact/hooks'
import htm from 'htm'

const html = htm.bind(h)

export { html, render, useEffect, useMemo, useRef, useState }
