"""The official Python SDK, major version 1: connects, lists the tools, runs one query, and prints what it saw.

python_1.py http URL TOKEN
python_1.py stdio COMMAND [ARGUMENT...]
"""

import asyncio
import json
import os
import sys
from contextlib import asynccontextmanager

from mcp import ClientSession, StdioServerParameters, stdio_client
from mcp.client.streamable_http import streamablehttp_client


@asynccontextmanager
async def connection(transport, *rest):
    if transport == "http":
        url, token = rest
        headers = {"Authorization": f"Bearer {token}"}
        async with streamablehttp_client(url, headers=headers) as (read, write, _):
            yield read, write
    else:
        server = StdioServerParameters(command=rest[0], args=list(rest[1:]), env=dict(os.environ))
        async with stdio_client(server) as (read, write):
            yield read, write


async def main():
    async with connection(*sys.argv[1:]) as (read, write), ClientSession(read, write) as session:
        opened = await session.initialize()
        tools = (await session.list_tools()).tools
        result = await session.call_tool("query_database", {"query": "SELECT 6 * 7 AS answer"})
        bad = await session.call_tool("query_database", {"query": "SELECT no_such_column"})
    seen = {
        "revision": opened.protocolVersion,
        "tools": [tool.name for tool in tools],
        "text": "\n".join(block.text for block in result.content),
        "structured": getattr(result, "structuredContent", None),
        "failed": bad.isError is True,
    }
    print(json.dumps(seen))


asyncio.run(main())
