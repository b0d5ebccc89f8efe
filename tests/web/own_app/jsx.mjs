// Turns notice.jsx into notice.js, as an application's own tools do.

import { readFileSync, writeFileSync } from 'node:fs'
import { transform } from 'sucrase'

const { code } = transform(readFileSync('notice.jsx', 'utf8'), { transforms: ['jsx'], jsxRuntime: 'automatic', production: true })
writeFileSync('notice.js', code)
