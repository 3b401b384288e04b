// SPDX-License-Identifier: Apache-2.0
// Sends one trace by each exporter of the OpenTelemetry JavaScript SDK and prints what it sent:
// node send.js GRPC_PORT HTTP_PORT -> one JSON line per exporter {name, trace, start}
'use strict';
const { SpanKind, SpanStatusCode, ROOT_CONTEXT, trace } = require('@opentelemetry/api');
const { NodeTracerProvider, BatchSpanProcessor, SimpleSpanProcessor } =
  require('@opentelemetry/sdk-trace-node');
const { resourceFromAttributes } = require('@opentelemetry/resources');

const [grpcPort, httpPort] = process.argv.slice(2);
const url = `http://127.0.0.1:${httpPort}/v1/traces`;

function exporter(kind, compression) {
  if (kind === 'grpc') {
    const { OTLPTraceExporter } = require('@opentelemetry/exporter-trace-otlp-grpc');
    return new OTLPTraceExporter({ url: `http://127.0.0.1:${grpcPort}`, compression });
  }
  const { OTLPTraceExporter } = kind === 'proto'
    ? require('@opentelemetry/exporter-trace-otlp-proto')
    : require('@opentelemetry/exporter-trace-otlp-http');
  return new OTLPTraceExporter({ url, compression });
}

const attributes = {
  text: 'zażółć \u{1f600} <&>', empty: '', yes: true, no: false, int: -42, big: 9007199254740991,
  double: 1.5, zero: 0, texts: ['a', 'b'], bools: [true, false], ints: [1, 2], doubles: [1.5, -2.5],
  none: [],
};

async function send(kind, compression, batch) {
  const name = [kind, compression, batch ? 'batch' : 'simple'].join(' ');
  const failures = [];
  const out = exporter(kind, compression);
  const honest = out.export.bind(out);
  out.export = (spans, done) => honest(spans, (result) => {
    if (result.code !== 0) failures.push(String(result.error));
    done(result);
  });
  const provider = new NodeTracerProvider({
    resource: resourceFromAttributes({ 'service.name': `node ${name}`, 'res.int': 7,
      'res.list': ['x', 'y'] }),
    spanProcessors: [batch ? new BatchSpanProcessor(out) : new SimpleSpanProcessor(out)],
  });
  const tracer = provider.getTracer('node-lib', '3.2.1');
  const start = [Math.floor(Date.now() / 1000) - 5, 123456789];
  const root = tracer.startSpan('root', { kind: SpanKind.SERVER, startTime: start, attributes },
    ROOT_CONTEXT);
  const context = trace.setSpan(ROOT_CONTEXT, root);
  const kinds = [SpanKind.INTERNAL, SpanKind.CLIENT, SpanKind.PRODUCER, SpanKind.CONSUMER];
  kinds.forEach((kind, i) => {
    const child = tracer.startSpan(`child ${i}`, {
      kind, startTime: [start[0], start[1] + 1000000 * (i + 1)],
      links: i === 1 ? [{ context: root.spanContext(), attributes: { why: 'test' } }] : [],
    }, context);
    if (i === 0) {
      child.addEvent('happened', { what: 'this', n: 5 }, [start[0], start[1] + 1500000]);
      child.setStatus({ code: SpanStatusCode.ERROR, message: 'went wrong' });
    }
    if (i === 2) child.setStatus({ code: SpanStatusCode.OK });
    child.end([start[0], start[1] + 1000000 * (i + 2)]);
  });
  root.end([start[0] + 1, start[1]]);
  await provider.forceFlush();
  await provider.shutdown();
  const { traceId, spanId } = root.spanContext();
  console.log(JSON.stringify({ name, trace: traceId, root: spanId, start: `${start[0]}${start[1]}`,
    failures }));
}

(async () => {
  for (const kind of ['grpc', 'proto', 'http']) {
    for (const compression of ['none', 'gzip']) {
      await send(kind, compression, compression === 'gzip');
    }
  }
})().catch((e) => { console.error(e); process.exit(1); });
