//! Lists, and the pages of them.

use crate::cursor;
use crate::handler::Handler;
use crate::jsonrpc::Failure;
use crate::model::{List, PageRequest, Project, WrittenList};
use crate::params::{self, Params};
use crate::rounds::Asking;
use crate::service::Service;

impl<H: Handler> Service<H> {
    /// Lists what the principal can call. A list that fits on one page is mostly written already.
    pub(crate) fn list_tools(&self, asking: &Asking<'_, H::Principal>) -> Result<Vec<u8>, Failure> {
        let name = "tools";
        let tools = self.handler.tools(&asking.scope.principal);
        let (items, next_cursor) =
            cursor::page(&tools, asking.params, name, self.options.page_size)?;
        if items.len() < tools.len() {
            let list = List {
                name,
                items,
                next_cursor,
            };
            return Ok(self.write_list(asking, &list));
        }
        let items = &self.listed.of(&tools, asking.scope.revision);
        Ok(self.write_list(asking, &WrittenList { name, items }))
    }

    pub(crate) fn list_prompts(
        &self,
        asking: &Asking<'_, H::Principal>,
    ) -> Result<Vec<u8>, Failure> {
        let name = "prompts";
        let prompts = self.handler.prompts(&asking.scope.principal);
        let (items, next_cursor) =
            cursor::page(&prompts, asking.params, name, self.options.page_size)?;
        let list = List {
            name,
            items,
            next_cursor,
        };
        Ok(self.write_list(asking, &list))
    }

    pub(crate) async fn list_resources(
        &self,
        asking: &Asking<'_, H::Principal>,
    ) -> Result<Vec<u8>, Failure> {
        let name = "resources";
        let page = self.asked_page(asking.params, name)?;
        let listing = self.handler.list_resources(page, self.context(asking)?);
        let page = self.call(Box::pin(listing), asking.scope.revision).await?;
        Ok(self.write_page(asking, name, &page.items, page.next))
    }

    pub(crate) async fn list_templates(
        &self,
        asking: &Asking<'_, H::Principal>,
    ) -> Result<Vec<u8>, Failure> {
        let name = "resourceTemplates";
        let page = self.asked_page(asking.params, name)?;
        let context = self.context(asking)?;
        let listing = self.handler.list_resource_templates(page, context);
        let page = self.call(Box::pin(listing), asking.scope.revision).await?;
        Ok(self.write_page(asking, name, &page.items, page.next))
    }

    /// Reads which page of a list is asked for.
    fn asked_page(&self, params: &Params<'_>, list: &'static str) -> Result<PageRequest, Failure> {
        let after = match params::optional::<String>("cursor", params.cursor)? {
            None => None,
            Some(cursor) => Some(cursor::decode(&cursor, list).ok_or_else(cursor::invalid)?),
        };
        Ok(PageRequest {
            after,
            size: self.options.page_size,
        })
    }

    fn write_page<T: Project>(
        &self,
        asking: &Asking<'_, H::Principal>,
        name: &'static str,
        items: &[T],
        next: Option<String>,
    ) -> Vec<u8> {
        let next_cursor = next.map(|next| cursor::encode(name, &next));
        let list = List {
            name,
            items,
            next_cursor,
        };
        self.write_list(asking, &list)
    }

    fn write_list(&self, asking: &Asking<'_, H::Principal>, list: &impl Project) -> Vec<u8> {
        self.write(asking, list, Some(self.options.list_lifetime))
    }
}
