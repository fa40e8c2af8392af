//! The interface's own description, generated from the handlers.

use std::sync::LazyLock;

use utoipa::OpenApi;
use utoipa::openapi::security::{HttpAuthScheme, HttpBuilder, SecurityScheme};

use super::{containers, dto, events, hosts, settings, stream, system, tokens};

#[derive(OpenApi)]
#[openapi(
    info(
        title = "dockhealth",
        description = "Keeps fleets of Docker hosts healthy. Errors are RFC 9457 problem+json. Changes need a token \
                       that may write; reads need one beyond this machine."
    ),
    paths(
        containers::list, containers::show, containers::monitor, containers::unmonitor, containers::restart,
        containers::release, containers::set_threshold, containers::unset_threshold, containers::set_maintenance,
        containers::end_maintenance,
        settings::threshold, settings::set_threshold, settings::freezes, settings::freeze, settings::unfreeze,
        hosts::list, hosts::show, hosts::forget,
        events::events, events::incidents, stream::stream,
        tokens::list, tokens::create, tokens::revoke,
        system::healthz, system::readyz, system::metrics,
    ),
    components(schemas(dto::HostContainers, dto::DesiredNotice)),
    modifiers(&Token),
)]
struct Document;

struct Token;

impl utoipa::Modify for Token {
    fn modify(&self, document: &mut utoipa::openapi::OpenApi) {
        let bearer = HttpBuilder::new().scheme(HttpAuthScheme::Bearer).build();
        let components = document.components.get_or_insert_default();
        components.add_security_scheme("token", SecurityScheme::Http(bearer));
    }
}

/// The document as JSON.
pub(super) fn json() -> String {
    static JSON: LazyLock<String> =
        LazyLock::new(|| Document::openapi().to_pretty_json().expect("plain data becomes JSON"));
    JSON.clone()
}
