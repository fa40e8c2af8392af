//! Notifications: what people outside were told, and whether it arrives.

use std::sync::Arc;

use http::StatusCode;
use serde::{Deserialize, Serialize};

use super::problem::Problem;
use super::request::Request;
use super::{Answer, Api, json};
use crate::model::{NoticeId, NoticeKind, Timestamp};
use crate::store::MAX_LIMIT;

/// How many are given when nobody says.
const DEFAULT_LIMIT: usize = 50;

/// The receivers of notifications, and the last notifications.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, utoipa::ToSchema)]
pub struct NotificationList {
    /// The receivers; none: nobody is told.
    pub receivers: Vec<Receiver>,
    /// The last notifications, the newest first.
    pub notifications: Vec<Notification>,
}

/// A receiver of notifications, without the secrets of its URL.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, utoipa::ToSchema)]
pub struct Receiver {
    /// Template and server, e.g. `slack https://hooks.slack.com/...`.
    pub receiver: String,
    /// `json`, `slack`, `discord` or `ntfy`.
    pub template: String,
    /// How many notifications wait for it.
    pub waiting: u64,
    /// How many attempts have failed since the last that did not, since this controller process began.
    pub failures: u32,
    /// When they began to; null while none does.
    #[schema(value_type = Option<String>, format = DateTime)]
    pub failing_since: Option<Timestamp>,
    /// What the last of them came to; null while none does.
    pub detail: Option<String>,
}

/// A notification and what became of it.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, utoipa::ToSchema)]
pub struct Notification {
    /// Its id: the same as in what receivers are sent.
    #[schema(value_type = String, format = Uuid)]
    pub id: NoticeId,
    /// What it tells.
    pub kind: NoticeKind,
    /// The notification of the problem that is over; null unless this is a recovery.
    #[schema(value_type = Option<String>, format = Uuid)]
    pub answers: Option<NoticeId>,
    /// When it was made.
    #[schema(value_type = String, format = DateTime)]
    pub time: Timestamp,
    /// What it says, in one line.
    pub title: String,
    /// What became of it at each receiver.
    pub deliveries: Vec<DeliveryView>,
}

/// A notification on its way to one receiver.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, utoipa::ToSchema)]
pub struct DeliveryView {
    /// The receiver.
    pub receiver: String,
    /// `waiting`, `delivered` or `failed`.
    pub state: String,
    /// How often it was tried.
    pub attempts: u64,
    /// When it was tried last.
    #[schema(value_type = Option<String>, format = DateTime)]
    pub tried: Option<Timestamp>,
    /// The HTTP status of the last answer; null where none came.
    pub status: Option<u16>,
    /// What the last attempt came to.
    pub detail: String,
}

/// The receivers of notifications, how it goes with each, and the last notifications, the newest first.
#[utoipa::path(
    get, path = "/api/v1/notifications", tag = "history",
    params(("limit" = Option<u64>, Query, description = "At most so many notifications, 1 to 1000; 50 when absent")),
    responses((status = 200, description = "Receivers and notifications", body = NotificationList))
)]
pub(super) async fn list(api: Arc<Api>, request: Request) -> Answer {
    let limit = request.query.limit(DEFAULT_LIMIT, MAX_LIMIT)?;
    let mut receivers = Vec::new();
    for target in api.notifications.targets() {
        let health = api.notifications.health(target);
        receivers.push(Receiver {
            receiver: target.shown().to_owned(),
            template: target.template().as_str().into(),
            waiting: api.db.waiting_for(&target.id()).await?,
            failures: health.failures,
            failing_since: health.since,
            detail: health.detail,
        });
    }
    let notifications = api.db.notices(limit).await?;
    let notifications =
        notifications.into_iter().map(|(notice, deliveries)| Notification::new(notice, deliveries)).collect();
    Ok(json(StatusCode::OK, &NotificationList { receivers, notifications }))
}

/// Send a test to every receiver, once, past what waits there; answered when all have, or after 15 s.
#[utoipa::path(
    post, path = "/api/v1/notifications/test", tag = "history",
    responses(
        (status = 200, description = "What each receiver said, good or bad", body = Notification),
        (status = 409, description = "There is no receiver", body = Problem, content_type = "application/problem+json"),
    ),
    security(("token" = []))
)]
pub(super) async fn test(api: Arc<Api>, request: Request) -> Answer {
    if api.notifications.targets().is_empty() {
        let detail =
            "nobody is told of incidents: start the controller with --notify-url or --notify-url-file";
        return Err(Problem::new(StatusCode::CONFLICT, detail));
    }
    tracing::info!("a test of the notifications was asked for (by {})", request.caller);
    let (notice, deliveries) = api.notifications.test().await?;
    Ok(json(StatusCode::OK, &Notification::new(notice, deliveries)))
}

impl From<crate::store::Delivery> for DeliveryView {
    fn from(delivery: crate::store::Delivery) -> Self {
        Self {
            receiver: delivery.shown,
            state: delivery.state.as_str().into(),
            attempts: delivery.attempts,
            tried: delivery.tried,
            status: delivery.status,
            detail: delivery.detail,
        }
    }
}

impl Notification {
    fn new(notice: crate::store::NoticeRow, deliveries: Vec<crate::store::Delivery>) -> Self {
        Self {
            id: notice.id,
            kind: notice.kind,
            answers: notice.answers,
            time: notice.made,
            title: notice.title,
            deliveries: deliveries.into_iter().map(DeliveryView::from).collect(),
        }
    }
}
