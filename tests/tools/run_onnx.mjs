// Runs ONNX files in onnxruntime and compares the results with those in .npy files: run_onnx.mjs MODULES DIRECTORY.
// Each line of DIRECTORY/index.txt has the name of a model and what it is, and the name of the .npy files if that is another.
import fs from 'node:fs';
import path from 'node:path';
import { createRequire } from 'node:module';

const [modules, directory] = process.argv.slice(2);
const ort = createRequire(path.join(modules, 'x.js'))('onnxruntime-node');

function half(bits) {
  const exponent = (bits >> 10) & 31, fraction = bits & 1023, sign = bits >> 15 ? -1 : 1;
  if (exponent === 31) return fraction ? NaN : sign * Infinity;
  return sign * (exponent ? 2 ** (exponent - 15) * (1 + fraction / 1024) : (2 ** -14 * fraction) / 1024);
}

const kinds = {
  '<f4': ['float32', Float32Array], '<f8': ['float64', Float64Array], '<f2': ['float16', Uint16Array],
  '<i8': ['int64', BigInt64Array], '<i4': ['int32', Int32Array], '|u1': ['uint8', Uint8Array], '|b1': ['bool', Uint8Array],
};

function npy(file) {
  const data = fs.readFileSync(file), length = data.readUInt16LE(8);
  const header = data.subarray(10, 10 + length).toString();
  const [type, Kind] = kinds[/'descr': '([^']*)'/.exec(header)[1]];
  const dims = (/'shape': \(([^)]*)\)/.exec(header)[1].match(/\d+/g) ?? []).map(Number);
  const bytes = Uint8Array.from(data.subarray(10 + length));
  return { type, dims, data: new Kind(bytes.buffer, 0, bytes.length / Kind.BYTES_PER_ELEMENT) };
}

const numbers = (type, data) => Array.from(data, (v) => (type === 'float16' ? half(v) : Number(v)));

// Relative errors, to the largest element where digits cancel.
function worst(type, got, expected) {
  const largest = expected.reduce((most, e) => (Number.isFinite(e) ? Math.max(most, Math.abs(e)) : most), 1e-30);
  let error = 0;
  expected.forEach((e, i) => {
    if (Object.is(got[i], e) || got[i] === e) return;
    if (!Number.isFinite(e) || !Number.isFinite(got[i])) error = Infinity;
    else error = Math.max(error, Math.abs(got[i] - e) / Math.max(Math.abs(e), largest));
  });
  return error;
}

// onnxruntime computes functions of f64 in f32 in places.
const allowed = { float32: 2e-5, float64: 2e-6, float16: 4e-3 };
// What a model and Bobbin may compute differently, as save_onnx says.
const known = [
  [/^(max|min|amax|amin|argmax|argmin|max_pool2d|norm|sign|log_softmax) (special values|all masked)/, 'NaN in maxima and minima, the sign of NaN'],
  [/^(silu|gelu_erf|gelu_tanh) special values /, 'infinities: -inf times 0'],
  [/^(layer|rms|group)_norm extreme rows /, 'rows whose squares leave the range'],
  [/^to_dtype through u8 /, 'conversions that overflow'],
  [/^sum special values i64/, 'sums of integers that overflow'],
  [/^mean of nothing /, 'means of nothing'],
];
// onnxruntime has no kernels for some valid models.
const lacking = /Could not find an implementation|Failed to find kernel/;
let passed = 0, left = 0;
const faults = [];
for (const line of fs.readFileSync(path.join(directory, 'index.txt'), 'utf8').split('\n')) {
  if (!line) continue;
  const [name, label, data = name] = line.split('\t'), base = path.join(directory, data);
  try {
    const session = await ort.InferenceSession.create(`${directory}/${name.split('@')[0]}.onnx`, { logSeverityLevel: 4, intraOpNumThreads: 1, interOpNumThreads: 1 });
    const x = npy(`${base}.in.npy`), y = npy(`${base}.out.npy`);
    const out = await session.run({ [session.inputNames[0]]: new ort.Tensor(x.type, x.data, x.dims) });
    const got = out[session.outputNames[0]];
    if (got.type !== y.type) throw new Error(`gives ${got.type}, not ${y.type}`);
    if (String(got.dims) !== String(y.dims)) throw new Error(`gives [${got.dims}], not [${y.dims}]`);
    const error = worst(y.type, numbers(y.type, got.data), numbers(y.type, y.data));
    if (!(error <= (allowed[y.type] ?? 0))) throw new Error(`is off by ${error.toExponential(1)}`);
    ++passed;
    await session.release();
  } catch (e) {
    if (known.some(([pattern]) => pattern.test(label)) || (/ (f64|i64|bool)$/.test(label) && lacking.test(e.message))) {
      ++left;
      continue;
    }
    faults.push(`${name} ${label}: ${e.message.split('\n')[0].slice(0, 200)}`);
  }
}
for (const fault of faults) console.log(fault);
console.log(`${passed} models run in onnxruntime, ${faults.length} wrong, ${left} left to the runtime or unknown to it`);
process.exit(faults.length ? 1 : 0);
