//! Notifications: what people outside were told, and whether it arrives.

use std::sync::Arc;

use http::StatusCode;

use super::dto::{DeliveryView, Notification, NotificationList, Receiver};
use super::problem::Problem;
use super::request::Request;
use super::{Answer, Api, json};
use crate::store::MAX_LIMIT;

/// How many are given when nobody says.
const DEFAULT_LIMIT: usize = 50;

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
