//! Streams of changes: `subscriptions/listen` since 2026-07-28, and the unsolicited messages of a session until
//! 2025-11-25.

use std::collections::HashSet;
use std::sync::Arc;

use serde::{Deserialize, Serialize};
use serde_json::{Value, json};
use tokio::sync::watch;

use crate::auth::Principal;
use crate::changes::Change;
use crate::exchange::{Answer, Exchange};
use crate::followed::{self, Followed};
use crate::handler::{CallRefusal, Called, Handler, Origin};
use crate::jsonrpc::{self, Failure, Id};
use crate::model::{Capabilities, Object};
use crate::outbox::Outbox;
use crate::params;
use crate::rounds::Asking;
use crate::service::{Arrival, Channel, Conversation, Service};
use crate::session::{OpenStream, Session};

/// The changes that a client asks to be told of, or those that it will be told of.
#[derive(Clone, Debug, Default, Deserialize, Serialize)]
#[serde(rename_all = "camelCase", default)]
pub(crate) struct Filter {
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    tools_list_changed: bool,
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    prompts_list_changed: bool,
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    resources_list_changed: bool,
    #[serde(skip_serializing_if = "HashSet::is_empty")]
    resource_subscriptions: HashSet<String>,
}

impl Filter {
    /// The resources to be followed.
    pub(crate) fn uris(&self) -> impl ExactSizeIterator<Item = &String> {
        self.resource_subscriptions.iter()
    }

    /// Drops what the server does not offer.
    fn within(self, offered: &Capabilities) -> Self {
        let lists = offered.list_changed;
        let mut resource_subscriptions = self.resource_subscriptions;
        if !offered.resources || !offered.resource_subscriptions {
            resource_subscriptions.clear();
        }
        Self {
            tools_list_changed: self.tools_list_changed && offered.tools && lists,
            prompts_list_changed: self.prompts_list_changed && offered.prompts && lists,
            resources_list_changed: self.resources_list_changed && offered.resources && lists,
            resource_subscriptions,
        }
    }

    fn passes(&self, change: &Change) -> bool {
        match change {
            Change::Tools => self.tools_list_changed,
            Change::Prompts => self.prompts_list_changed,
            Change::Resources => self.resources_list_changed,
            Change::Resource(uri) => self.resource_subscriptions.contains(&**uri),
        }
    }
}

impl<H: Handler> Service<H> {
    /// Serves `subscriptions/listen`: acknowledges, then tells of changes until the transport closes.
    pub(crate) async fn listen(
        &self,
        asking: &Asking<'_, H::Principal>,
        arrival: &Arrival,
    ) -> Result<Vec<u8>, Failure> {
        let id = &asking.request.id;
        let wanted: Filter = params::required_object("notifications", asking.params.notifications)?;
        if !followed::can_be_followed(wanted.uris()) {
            self.refuse_to_follow(wanted.uris(), CallRefusal::TooManyRequests, asking.origin());
            return Err(Failure::invalid_params(
                "too many resources, or too long addresses, for one stream",
            ));
        }
        if asking.outbox.is_closed() {
            return Err(Failure::malformed("this is answered with text/event-stream").status(406));
        }
        let _place = self
            .listeners
            .enter(asking.scope.principal.name())
            .ok_or_else(|| {
                self.refuse_to_follow(wanted.uris(), CallRefusal::TooManyRequests, asking.origin());
                Failure::new(
                    jsonrpc::INTERNAL_ERROR,
                    "too many streams are open; close one",
                )
                .status(429)
            })?;
        // Whoever has read the acknowledgement may rely on being told of every change from then on.
        let mut follower = self.changes.follow(asking.scope.principal.name());
        let (filter, followed) = self.begin_to_follow(asking, wanted).await?;
        let acknowledged = json!({ "_meta": subscription(id), "notifications": &filter });
        let acknowledged =
            jsonrpc::write_notification("notifications/subscriptions/acknowledged", &acknowledged);
        asking.outbox.send(acknowledged).await;
        let stream = Stream {
            outbox: &asking.outbox,
            id: Some(id),
        };
        if filter.passes(&Change::Tools) {
            stream.tell_at_revocation(&Change::Tools);
        }
        let tell_changes = async {
            loop {
                let change = follower.next(|| followed.uris()).await;
                if filter.passes(&change) {
                    stream.tell(&change).await;
                }
            }
        };
        let look = self.look(
            &asking.scope.principal,
            || Some(Arc::clone(&followed)),
            &stream,
        );
        tokio::select! {
            () = tell_changes => {}
            () = look => {}
            () = closed(arrival.closing.clone()) => {}
        }
        if let Channel::Stdio(_) = arrival.channel {
            // Where streams share one pipe, the end of one is announced (2026-07-28, notifications/cancelled).
            let end = json!({ "requestId": id });
            let end = jsonrpc::write_notification("notifications/cancelled", &end);
            asking.outbox.send(end).await;
        }
        let mut reply = self.reply(&crate::model::Empty, asking.scope.revision, None);
        reply.subscription = Some(id);
        Ok(jsonrpc::write_result(id, |out| reply.write(out)))
    }

    /// Looks for the first time at what a stream is to follow, within the time limit of one
    /// request. Resources that do not exist are left out of the filter, and the handler is told of
    /// them; those that are not reached in time are left out, too.
    async fn begin_to_follow(
        &self,
        asking: &Asking<'_, H::Principal>,
        wanted: Filter,
    ) -> Result<(Filter, Arc<Followed>), Failure> {
        let context = self.context(asking)?;
        let mut filter = wanted.within(&self.handler.capabilities());
        let unknown: Vec<String> = filter
            .resource_subscriptions
            .extract_if(|uri| !self.handler.may_follow(uri, &asking.scope.principal))
            .collect();
        self.refuse_to_follow(
            unknown.iter(),
            CallRefusal::UnknownResources,
            asking.origin(),
        );
        let followed = Followed::default();
        let looking = async {
            for uri in &filter.resource_subscriptions {
                let following = Box::pin(self.handler.follow_resource(uri, context.clone()));
                if let Ok(version) = following.await {
                    followed.add(uri.clone(), version);
                }
            }
            Ok(())
        };
        let _in_time = self.limited(Box::pin(looking)).await;
        filter
            .resource_subscriptions
            .retain(|uri| followed.contains(uri));
        Ok((filter, Arc::new(followed)))
    }

    /// Tells the handler, all at once, of resources that a stream asked to follow and does not.
    pub(crate) fn refuse_to_follow<'u>(
        &self,
        uris: impl ExactSizeIterator<Item = &'u String>,
        why: CallRefusal,
        from: Origin<'_, H::Principal>,
    ) {
        let count = uris.len();
        if let Some(first) = uris.min() {
            let called = Called::Follow(first, count - 1);
            self.handler.call_refused(called, why, from);
        }
    }

    /// Tells a session over HTTP of changes that it subscribed to, until it ends or the transport
    /// closes.
    pub(crate) fn stream(
        self: &Arc<Self>,
        session: Arc<Session>,
        place: OpenStream,
        principal: H::Principal,
        closing: watch::Receiver<bool>,
    ) -> Exchange {
        let outbox = Arc::new(Outbox::default());
        let sender = Arc::clone(&outbox);
        let mut follower = self.changes.follow(principal.name());
        let offered = self.handler.capabilities();
        let service = Arc::clone(self);
        let answer = Box::pin(async move {
            let _place = place;
            let stream = Stream::unsolicited(&sender);
            if wants(&session, &offered, &Change::Tools) {
                stream.tell_at_revocation(&Change::Tools);
            }
            let tell_changes = async {
                loop {
                    let change = follower.next(|| session.followed.uris()).await;
                    if wants(&session, &offered, &change) {
                        stream.tell(&change).await;
                    }
                }
            };
            let look = service.look(&principal, || Some(Arc::clone(&session.followed)), &stream);
            tokio::select! {
                () = tell_changes => {}
                () = look => {}
                () = session.ended() => {}
                () = closed(Some(closing)) => {}
            }
            Answer {
                message: None,
                status: 200,
                session: None,
                place: None,
            }
        });
        Exchange::new(outbox, None, answer)
    }

    /// Tells a client over stdio of changes that its session subscribed to, once it has a session.
    pub(crate) fn unsolicited(
        self: &Arc<Self>,
        conversation: Conversation,
        principal: H::Principal,
    ) -> Exchange {
        let outbox = Arc::new(Outbox::default());
        let sender = Arc::clone(&outbox);
        let mut follower = self.changes.follow(principal.name());
        let offered = self.handler.capabilities();
        let service = Arc::clone(self);
        let answer = Box::pin(async move {
            let stream = Stream::unsolicited(&sender);
            let followed = || Some(Arc::clone(&conversation.session()?.followed));
            let uris = || followed().map_or_else(Vec::new, |followed| followed.uris());
            let tell_changes = async {
                loop {
                    let change = follower.next(uris).await;
                    if let Some(session) = conversation.session()
                        && wants(&session, &offered, &change)
                    {
                        stream.tell(&change).await;
                    }
                }
            };
            let look = service.look(&principal, followed, &stream);
            tokio::select! {
                answer = tell_changes => answer,
                answer = look => answer,
            }
        });
        Exchange::new(outbox, None, answer)
    }

    /// Looks regularly at what somebody follows, and tells what has changed. Never ends.
    async fn look<T>(
        &self,
        principal: &H::Principal,
        followed: impl Fn() -> Option<Arc<Followed>>,
        stream: &Stream<'_>,
    ) -> T {
        loop {
            tokio::time::sleep(self.options.follow_interval).await;
            let Some(followed) = followed() else {
                continue;
            };
            for uri in followed.uris() {
                if let Some(version) = self.version(&uri, principal).await
                    && followed.has_changed(&uri, version)
                {
                    stream.tell(&Change::Resource(uri.into())).await;
                }
            }
        }
    }

    /// Gives the present version of a resource, if that is known in time.
    async fn version(&self, uri: &str, principal: &H::Principal) -> Option<String> {
        let version = self.handler.resource_version(uri, principal);
        self.limited(Box::pin(async { Ok(version.await) }))
            .await
            .ok()?
            .ok()?
    }
}

/// Where changes are reported.
struct Stream<'a> {
    outbox: &'a Outbox,
    /// What changes are tagged with, in revisions that have such a tag.
    id: Option<&'a Id>,
}

impl<'a> Stream<'a> {
    fn unsolicited(outbox: &'a Outbox) -> Self {
        Self { outbox, id: None }
    }

    /// Tells of a change, once a slow reader has left room for it.
    async fn tell(&self, change: &Change) {
        self.outbox.send(self.told(change)).await;
    }

    /// Keeps a change to be told last if the rights of the principal are changed, which ends the
    /// stream.
    fn tell_at_revocation(&self, change: &Change) {
        self.outbox.keep_farewell(self.told(change));
    }

    /// Writes the notification.
    fn told(&self, change: &Change) -> Vec<u8> {
        let mut params = Object::new();
        if let Some(id) = self.id {
            params.insert("_meta".to_owned(), subscription(id));
        }
        if let Change::Resource(uri) = change {
            params.insert("uri".to_owned(), Value::from(&**uri));
        }
        jsonrpc::write_notification(change.method(), &params)
    }
}

/// Returns whether a session is to be told of a change.
fn wants(session: &Session, offered: &Capabilities, change: &Change) -> bool {
    match change {
        Change::Tools => offered.tools && offered.list_changed,
        Change::Prompts => offered.prompts && offered.list_changed,
        Change::Resources => offered.resources && offered.list_changed,
        Change::Resource(uri) => session.followed.contains(uri),
    }
}

fn subscription(id: &Id) -> Value {
    json!({ "io.modelcontextprotocol/subscriptionId": id })
}

/// Completes when the transport wants its streams to end.
async fn closed(closing: Option<watch::Receiver<bool>>) {
    if let Some(mut closing) = closing
        && closing.wait_for(|closing| *closing).await.is_ok()
    {
        return;
    }
    // If the transport is gone, its streams have been dropped, too.
    std::future::pending().await
}
