//! Speaking to a running dockhealth: to the controller over its REST interface, to this machine's agent over its
//! unix socket.

mod api;
mod chaos;
mod local;
mod measured;
mod network;
mod sse;
mod view;

pub use api::{Answer, Api, ApiError, ApiOptions, Method};
pub use chaos::{ChaosHostView, ChaosView};
pub use local::{AgentSocket, LocalError};
pub use measured::{LeftOutView, PlaceView, PlacementView, SeriesView, TopRowView, TopView};
pub use network::{
    BucketView, HistogramView, HopView, NetworkEdgeView, NetworkHostView, NetworkMapView, NetworkNodeView,
    NetworkPairView, RulesTemplateView,
};
pub use sse::{SseEvent, SseReader};
pub use view::{
    AgentView, ContainerView, DeliveryView, DetailsView, EngineView, FreezeView, HostView, NetworkHintsView,
    NotificationView, NotificationsView, PoolDetailsView, PoolView, ReceiverView, TokenView,
};
