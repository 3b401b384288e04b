// SPDX-License-Identifier: Apache-2.0
// Sends one trace by each old client of Node and prints what it sent:
// node send.js UDP_BINARY_PORT JAEGER_HTTP_PORT ZIPKIN_PORT [NAME] -> one JSON line per client
'use strict';
const [udpPort, jaegerPort, zipkinPort, only] = process.argv.slice(2);
const host = '127.0.0.1';
const sleep = (ms) => new Promise((done) => setTimeout(done, ms));

// jaeger-client: Thrift's binary protocol over UDP, or over HTTP
async function jaegerClient(name, reporter) {
  const { initTracer, opentracing } = require('jaeger-client');
  const service = `svc ${name}`;
  const tracer = initTracer({ serviceName: service, sampler: { type: 'const', param: 1 },
    reporter: { flushIntervalMs: 20, ...reporter } }, { tags: { 'res.tag': 'x' } });
  const root = tracer.startSpan('root', { tags: { 'span.kind': 'server', error: true, n: 1.5 } });
  root.log({ event: 'noted', n: 5 });
  const child = tracer.startSpan('child', { childOf: root.context(),
    references: [opentracing.followsFrom(root.context())] });
  child.finish();
  root.finish();
  await new Promise((done) => tracer.close(done));
  return { trace: root.context().traceIdStr.padStart(32, '0'),
    root: root.context().spanIdStr.padStart(16, '0'), service,
    names: ['child', 'root'], event: 'noted', failed: ['root'] };
}

// exporters of the OpenTelemetry SDK
async function sdk(name, exporter) {
  const { SpanKind, SpanStatusCode, ROOT_CONTEXT, trace } = require('@opentelemetry/api');
  const { NodeTracerProvider, SimpleSpanProcessor } = require('@opentelemetry/sdk-trace-node');
  const { resourceFromAttributes } = require('@opentelemetry/resources');
  const service = `svc ${name}`;
  const provider = new NodeTracerProvider({
    resource: resourceFromAttributes({ 'service.name': service, 'res.tag': 'x' }),
    spanProcessors: [new SimpleSpanProcessor(exporter)],
  });
  const tracer = provider.getTracer('node-lib', '3.2.1');
  const root = tracer.startSpan('root', { kind: SpanKind.SERVER, attributes: { n: 1.5, yes: true } },
    ROOT_CONTEXT);
  const child = tracer.startSpan('child', { kind: SpanKind.CLIENT },
    trace.setSpan(ROOT_CONTEXT, root));
  child.end();
  root.addEvent('noted');
  root.setStatus({ code: SpanStatusCode.ERROR, message: 'went wrong' });
  root.end();
  await provider.forceFlush();
  await provider.shutdown();
  const { traceId, spanId } = root.spanContext();
  return { trace: traceId, root: spanId, service, names: ['child', 'root'], event: 'noted',
    failed: ['root'] };
}

// zipkin-js
async function zipkinJs(name, encoder, path) {
  const { Tracer, ExplicitContext, BatchRecorder, Annotation, jsonEncoder } = require('zipkin');
  const { HttpLogger } = require('zipkin-transport-http');
  const service = `svc ${name}`;
  const logger = new HttpLogger({ endpoint: `http://${host}:${zipkinPort}${path}`,
    jsonEncoder: jsonEncoder[encoder], httpInterval: 20 });
  const tracer = new Tracer({ ctxImpl: new ExplicitContext(), localServiceName: service,
    recorder: new BatchRecorder({ logger }), traceId128Bit: true });
  const id = tracer.createRootId();
  tracer.scoped(() => {
    tracer.setId(id);
    tracer.recordServiceName(service);
    tracer.recordRpc('root');
    tracer.recordAnnotation(new Annotation.ServerRecv());
    tracer.recordAnnotation(new Annotation.ServerAddr({ serviceName: 'db', port: 3306 }));
    tracer.recordBinary('http.path', '/x');
    tracer.recordBinary('error', 'boom');
    tracer.recordMessage('noted');
    tracer.recordAnnotation(new Annotation.ServerSend());
  });
  await sleep(300);
  return { trace: id.traceId.padStart(32, '0'), root: id.spanId, service, names: ['root'],
    event: 'noted', failed: ['root'] };
}

const clients = {
  jaeger_client_node: () => jaegerClient('jaeger-client node',
    { agentHost: host, agentPort: Number(udpPort) }),
  jaeger_client_node_http: () => jaegerClient('jaeger-client node http',
    { collectorEndpoint: `http://${host}:${jaegerPort}/api/traces` }),
  sdk_jaeger_node: () => {
    const { JaegerExporter } = require('@opentelemetry/exporter-jaeger');
    return sdk('sdk jaeger node', new JaegerExporter({ host, port: Number(udpPort),
      flushTimeout: 500 }));
  },
  sdk_jaeger_node_http: () => {
    const { JaegerExporter } = require('@opentelemetry/exporter-jaeger');
    return sdk('sdk jaeger node http', new JaegerExporter({
      endpoint: `http://${host}:${jaegerPort}/api/traces` }));
  },
  sdk_zipkin_node: () => {
    const { ZipkinExporter } = require('@opentelemetry/exporter-zipkin');
    return sdk('sdk zipkin node', new ZipkinExporter({
      url: `http://${host}:${zipkinPort}/api/v2/spans` }));
  },
  zipkin_js_v1_json: () => zipkinJs('zipkin-js v1', 'JSON_V1', '/api/v1/spans'),
  zipkin_js_v2_json: () => zipkinJs('zipkin-js v2', 'JSON_V2', '/api/v2/spans'),
};

(async () => {
  for (const [name, send] of Object.entries(clients)) {
    if (only === undefined || only === name) {
      process.stdout.write(`${JSON.stringify({ name, ...await send() })}\n`);
    }
  }
  process.exit(0); // timers of the clients would keep the process
})().catch((e) => { console.error(e); process.exit(1); });
