// The official TypeScript SDK, major version 1: connects, lists the tools, runs one query, and prints what it saw.
//   typescript_1.mjs PACKAGE http URL TOKEN
//   typescript_1.mjs PACKAGE stdio COMMAND [ARGUMENT...]
const [name, transportName, ...rest] = process.argv.slice(2);
const { Client } = await import(`${name}/client/index.js`);

async function overHttp([url, token]) {
  const { StreamableHTTPClientTransport } = await import(`${name}/client/streamableHttp.js`);
  const requestInit = { headers: { Authorization: `Bearer ${token}` } };
  return new StreamableHTTPClientTransport(new URL(url), { requestInit });
}

async function overStdio([command, ...args]) {
  const { StdioClientTransport } = await import(`${name}/client/stdio.js`);
  return new StdioClientTransport({ command, args, stderr: 'inherit' });
}

const transport = await (transportName === 'http' ? overHttp(rest) : overStdio(rest));

// The client keeps the negotiated revision to itself, so it is read off the answer to `initialize`.
let revision;
let receive;
Object.defineProperty(transport, 'onmessage', {
  get: () => receive,
  set: (handler) => {
    receive = (message, extra) => {
      revision ??= message.result?.protocolVersion;
      handler(message, extra);
    };
  },
});

const client = new Client({ name: 'ladder', version: '1.0.0' }, { capabilities: {} });
await client.connect(transport);
const { tools } = await client.listTools();
const result = await client.callTool({ name: 'query_database', arguments: { query: 'SELECT 6 * 7 AS answer' } });
const bad = await client.callTool({ name: 'query_database', arguments: { query: 'SELECT no_such_column' } });
if (transportName === 'http') await transport.terminateSession?.();
await client.close();
console.log(
  JSON.stringify({
    revision,
    tools: tools.map((tool) => tool.name),
    text: result.content.map((block) => block.text).join('\n'),
    structured: result.structuredContent ?? null,
    failed: bad.isError === true,
  }),
);
