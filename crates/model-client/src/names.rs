//! The addresses of a model's host.

use std::{
    io,
    net::SocketAddr,
    pin::Pin,
    sync::Arc,
    task::{Context, Poll},
    vec,
};

use hyper_util::client::legacy::connect::dns::Name;
use resolver::Resolver;
use tower_service::Service;

/// Gives hyper the addresses of names.
#[derive(Clone, Default)]
pub(crate) struct Names(Arc<Resolver>);

impl Service<Name> for Names {
    type Response = vec::IntoIter<SocketAddr>;
    type Error = io::Error;
    type Future = Pin<Box<dyn Future<Output = io::Result<Self::Response>> + Send>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, name: Name) -> Self::Future {
        let resolver = Arc::clone(&self.0);
        Box::pin(async move {
            let addresses = resolver.resolve(name.as_str()).await?;
            // hyper puts the port of the URL in place of this one.
            let addresses = addresses.iter().map(|address| SocketAddr::new(*address, 0));
            Ok(addresses.collect::<Vec<_>>().into_iter())
        })
    }
}
