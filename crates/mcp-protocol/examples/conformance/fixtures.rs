//! The fixtures as a handler.

use std::marker::PhantomData;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use mcp_protocol::{
    CallError, Capabilities, Completion, CompletionCall, Context, Handler, Health, Page,
    PageRequest, Principal, Prompt, PromptCall, PromptResult, Resource, ResourceContents,
    ResourceTemplate, SchemaError, ServerInfo, Tool, ToolCall, ToolResult,
};

use crate::{prompts, resources, tools};

/// The handler of the suite's fixtures, for any principal.
pub(crate) struct Fixtures<P> {
    info: ServerInfo,
    tools: Arc<[Tool]>,
    prompts: Arc<[Prompt]>,
    refused: Arc<AtomicU64>,
    principals: PhantomData<fn(P)>,
}

impl<P> Fixtures<P> {
    /// Makes the fixtures; their health reports the count of `refused` requests.
    pub(crate) fn new(refused: Arc<AtomicU64>) -> Result<Self, SchemaError> {
        let info = ServerInfo {
            name: "conformance-fixtures".to_owned(),
            title: Some("Conformance fixtures".to_owned()),
            version: env!("CARGO_PKG_VERSION").to_owned(),
            description: Some("What the official suite asks for.".to_owned()),
            instructions: Some("Fixtures for the official conformance suite.".to_owned()),
            ..ServerInfo::default()
        };
        let (tools, prompts) = (tools::list()?.into(), prompts::list().into());
        Ok(Self {
            info,
            tools,
            prompts,
            refused,
            principals: PhantomData,
        })
    }
}

impl<P: Principal> Handler for Fixtures<P> {
    type Principal = P;

    fn server(&self) -> &ServerInfo {
        &self.info
    }

    fn capabilities(&self) -> Capabilities {
        Capabilities {
            tools: true,
            resources: true,
            resource_subscriptions: true,
            prompts: true,
            completions: true,
            logging: true,
            list_changed: true,
            tasks: true,
        }
    }

    fn tools(&self, _: &P) -> Arc<[Tool]> {
        Arc::clone(&self.tools)
    }

    async fn call_tool(
        &self,
        call: ToolCall,
        context: Context<P>,
    ) -> Result<ToolResult, CallError> {
        tools::call(call, context).await
    }

    async fn list_resources(
        &self,
        _: PageRequest,
        _: Context<P>,
    ) -> Result<Page<Resource>, CallError> {
        Ok(Page::whole(resources::list()))
    }

    async fn list_resource_templates(
        &self,
        _: PageRequest,
        _: Context<P>,
    ) -> Result<Page<ResourceTemplate>, CallError> {
        Ok(Page::whole(resources::templates()))
    }

    async fn read_resource(
        &self,
        uri: String,
        _: Context<P>,
    ) -> Result<Vec<ResourceContents>, CallError> {
        resources::read(&uri)
            .map(|contents| vec![contents])
            .ok_or(CallError::NotFound(uri))
    }

    fn prompts(&self, _: &P) -> Arc<[Prompt]> {
        Arc::clone(&self.prompts)
    }

    async fn get_prompt(
        &self,
        call: PromptCall,
        context: Context<P>,
    ) -> Result<PromptResult, CallError> {
        prompts::get(&call, &context)
    }

    async fn complete(&self, call: CompletionCall, _: Context<P>) -> Result<Completion, CallError> {
        prompts::complete(&call)
    }

    async fn health(&self) -> Health {
        let mut health = Health::up();
        let refused = self.refused.load(Ordering::Relaxed);
        health.body.insert("refused".to_owned(), refused.into());
        health
    }
}
