//! mcp-token
fn main() {}
