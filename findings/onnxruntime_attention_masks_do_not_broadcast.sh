#!/usr/bin/env bash
# onnxruntime 1.30.0 loads a model with ONNX's Attention (opset 23) whose mask is [batch, 1, 1, keys], the usual form of a
# mask for padded keys, and refuses to run it: its CPU kernel wants the last two axes of the mask in full, and at least two
# axes. ONNX says that the mask's shape must be broadcastable to [batch, heads, queries, keys]. Axes before the last two do
# broadcast; so a file that adds an Expand to [queries, keys] before the node runs, and gives the same.
# Source: npm's onnxruntime-node 1.30.0. Output seen:
#   onnxruntime 1.30.0, a mask for Attention of queries [2,2,3,4] and keys [2,2,5,4]
#   [2,2,3,5]  runs
#   [2,1,3,5]  runs
#   [3,5]      runs
#   [2,1,1,5]  refused: inconsistent q_sequence_length (between attn_mask and Q)
#   [1,1,3,1]  refused: inconsistent total_sequence_length (between attn_mask and past_key and past_value)
#   [5]        refused: attn_mask must be 2D or 3D or 4D tensor
#   [2,1,1,5]  expanded first: runs
set -euo pipefail

work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
cd "$work"
npm install --no-audit --no-fund --ignore-scripts --silent --prefix . onnxruntime-node@1.30.0 >/dev/null
cat >run.mjs <<'J'
import { createRequire } from 'node:module';
const require = createRequire(import.meta.url);
const ort = require('onnxruntime-node');

// Protocol buffers, by the field numbers of onnx.proto.
function varint(n) {
  const bytes = [];
  for (; n > 127; n = Math.floor(n / 128)) bytes.push((n % 128) | 128);
  return Buffer.from([...bytes, n]);
}
const number = (field, n) => Buffer.concat([varint(field * 8), varint(n)]);
const bytes = (field, ...parts) => {
  const all = Buffer.concat(parts.map((part) => Buffer.from(part)));
  return Buffer.concat([varint(field * 8 + 2), varint(all.length), all]);
};
const node = (type, inputs, output) => bytes(1, ...inputs.map((name) => bytes(1, name)), bytes(2, output), bytes(4, type));
const port = (field, name, type, shape) =>
  bytes(field, bytes(1, name), bytes(2, bytes(1, number(1, type), bytes(2, ...shape.map((n) => bytes(1, number(1, n)))))));
const FLOAT = 1, INT64 = 7, BOOL = 9;

const model = (mask, expand) =>
  Buffer.concat([
    number(1, 11), // the version of the format
    bytes(
      7,
      ...(expand ? [node('Expand', ['mask', 'sizes'], 'whole')] : []),
      node('Attention', ['query', 'key', 'value', expand ? 'whole' : 'mask'], 'output'),
      bytes(2, 'graph'),
      bytes(5, number(1, 2), number(2, INT64), bytes(8, 'sizes'), bytes(9, Buffer.from(new BigInt64Array([3n, 5n]).buffer))),
      port(11, 'query', FLOAT, [2, 2, 3, 4]),
      port(11, 'key', FLOAT, [2, 2, 5, 4]),
      port(11, 'value', FLOAT, [2, 2, 5, 4]),
      port(11, 'mask', BOOL, mask),
      port(12, 'output', FLOAT, [2, 2, 3, 4]),
    ),
    bytes(8, bytes(1, ''), number(2, 23)), // opset
  ]);

const size = (shape) => shape.reduce((a, b) => a * b);
const floats = (shape) => new ort.Tensor('float32', Float32Array.from({ length: size(shape) }, (_, i) => Math.sin(i)), shape);
async function run(mask, expand = false) {
  const session = await ort.InferenceSession.create(model(mask, expand), { logSeverityLevel: 4 }); // never throws here
  try {
    const out = await session.run({
      query: floats([2, 2, 3, 4]),
      key: floats([2, 2, 5, 4]),
      value: floats([2, 2, 5, 4]),
      mask: new ort.Tensor('bool', new Uint8Array(size(mask)).fill(1), mask),
    });
    return `${expand ? 'expanded first: ' : ''}runs`;
  } catch (e) {
    return `refused: ${e.message.trim().split('was false. ').at(-1)}`;
  }
}

const { version } = require('onnxruntime-node/package.json');
console.log(`onnxruntime ${version}, a mask for Attention of queries [2,2,3,4] and keys [2,2,5,4]`);
let same = version === '1.30.0';
for (const [mask, expected, expand] of [
  [[2, 2, 3, 5], 'runs'],
  [[2, 1, 3, 5], 'runs'],
  [[3, 5], 'runs'],
  [[2, 1, 1, 5], 'refused: inconsistent q_sequence_length'],
  [[1, 1, 3, 1], 'refused: inconsistent total_sequence_length'],
  [[5], 'refused: attn_mask must be 2D'],
  [[2, 1, 1, 5], 'expanded first: runs', true],
]) {
  const got = await run(mask, expand);
  console.log(`${`[${mask}]`.padEnd(10)} ${got}`);
  same &&= got.startsWith(expected);
}
process.exit(same ? 0 : 1);
J
node run.mjs
