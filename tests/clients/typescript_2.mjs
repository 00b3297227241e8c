// The official TypeScript client, major version 2, in one of its modes: connects, lists the tools, runs one query,
// and prints what it saw.
//   typescript_2.mjs MODE http URL TOKEN
//   typescript_2.mjs MODE stdio COMMAND [ARGUMENT...]
// MODE is `legacy`, `auto`, or a revision that the client insists on.
import { Client, StreamableHTTPClientTransport } from 'client-2.4.0';
import { StdioClientTransport } from 'client-2.4.0/stdio';

const [mode, transportName, ...rest] = process.argv.slice(2);

function overHttp([url, token]) {
  const requestInit = { headers: { Authorization: `Bearer ${token}` } };
  return new StreamableHTTPClientTransport(new URL(url), { requestInit });
}

function overStdio([command, ...args]) {
  return new StdioClientTransport({ command, args, stderr: 'inherit' });
}

const transport = transportName === 'http' ? overHttp(rest) : overStdio(rest);
const versionNegotiation = { mode: ['legacy', 'auto'].includes(mode) ? mode : { pin: mode } };
const client = new Client({ name: 'ladder', version: '2.0.0' }, { capabilities: {}, versionNegotiation });
await client.connect(transport);
const { tools } = await client.listTools();
const result = await client.callTool({ name: 'query_database', arguments: { query: 'SELECT 6 * 7 AS answer' } });
const bad = await client.callTool({ name: 'query_database', arguments: { query: 'SELECT no_such_column' } });
const revision = client.getNegotiatedProtocolVersion();
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
