"""The official Python SDK, major version 2, in one of its modes: connects, lists the tools, runs one query, and
prints what it saw.

python_2.py MODE http URL TOKEN
python_2.py MODE stdio COMMAND [ARGUMENT...]

MODE is `legacy`, `auto`, or a revision that the client insists on.
"""

import asyncio
import json
import os
import sys

import httpx2
from mcp import Client, StdioServerParameters
from mcp.client.streamable_http import streamable_http_client


def server(transport, *rest):
    if transport == "http":
        url, token = rest
        http = httpx2.AsyncClient(headers={"Authorization": f"Bearer {token}"})
        return streamable_http_client(url, http_client=http)
    return StdioServerParameters(command=rest[0], args=list(rest[1:]), env=dict(os.environ))


async def main():
    mode, *rest = sys.argv[1:]
    async with Client(server(*rest), mode=mode) as client:
        tools = (await client.list_tools()).tools
        result = await client.call_tool("query_database", {"query": "SELECT 6 * 7 AS answer"})
        bad = await client.call_tool("query_database", {"query": "SELECT no_such_column"})
        revision = client.protocol_version
    seen = {
        "revision": revision,
        "tools": [tool.name for tool in tools],
        "text": "\n".join(block.text for block in result.content),
        "structured": result.structured_content,
        "failed": bad.is_error is True,
    }
    print(json.dumps(seen))


asyncio.run(main())
