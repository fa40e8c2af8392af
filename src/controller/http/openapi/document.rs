//! What `openapi.json` is made from: the handlers. Only the test that compares the two is built with it, since it would be
//! 0.4 MB of the binary.

use utoipa::OpenApi;
use utoipa::openapi::path::Operation;
use utoipa::openapi::security::{
    ApiKey, ApiKeyValue, HttpAuthScheme, HttpBuilder, SecurityRequirement, SecurityScheme,
};
use utoipa::openapi::{Content, Ref, ResponseBuilder};

use super::super::{
    backtest, chaos, containers, drills, dto, events, hosts, network, network_pair, network_rules,
    notifications, overview, placement, pools, processes, report, series, session, settings, stream, system,
    tokens, top, watched,
};

#[derive(OpenApi)]
#[openapi(
    info(
        title = "dockhealth",
        description = "Keeps fleets of Docker hosts healthy. Errors are RFC 9457 problem+json. Changes need a token \
                       that may write; reads need one beyond this machine."
    ),
    paths(
        containers::list, containers::show, processes::processes, containers::monitor, containers::unmonitor, containers::restart,
        containers::release, containers::set_threshold, containers::unset_threshold, containers::set_maintenance,
        containers::end_maintenance,
        settings::threshold, settings::set_threshold, settings::freezes, settings::freeze, settings::unfreeze,
        hosts::list, hosts::show, hosts::forget,
        series::of_container, series::of_host, report::report, top::top, placement::placement, backtest::backtest,
        network::map, network::hosts, network_pair::flows, network_pair::pair, network_rules::show,
        network_rules::set, network_rules::unset, network_rules::templates,
        chaos::begin, chaos::end, chaos::renew,
        pools::list, pools::show, pools::set, pools::remove,
        events::events, events::incidents, drills::list, drills::show, drills::begin, drills::end, drills::report,
        notifications::list, notifications::test, stream::stream,
        session::show, session::login, session::logout, tokens::list, tokens::create, tokens::revoke,
        overview::overview, system::healthz, system::readyz, system::metrics,
    ),
    components(schemas(crate::notify::Notice, dto::HostContainers, dto::DesiredNotice, pools::HostPools, watched::HostMetrics)),
    modifiers(&Token, &AnyProblem, &Names),
)]
struct Document;

struct Token;

impl utoipa::Modify for Token {
    fn modify(&self, document: &mut utoipa::openapi::OpenApi) {
        let bearer = HttpBuilder::new().scheme(HttpAuthScheme::Bearer).build();
        let components = document.components.get_or_insert_default();
        components.add_security_scheme("token", SecurityScheme::Http(bearer));
        let about =
            "Set by POST /api/v1/session. Changes must repeat the session's csrf in the header X-CSRF-Token.";
        let cookie = ApiKey::Cookie(ApiKeyValue::with_description("dockhealth_session", about));
        components.add_security_scheme("session", SecurityScheme::ApiKey(cookie));
        for operation in operations(document) {
            if let Some(security) = &mut operation.security {
                security.push(SecurityRequirement::new("session", [""; 0]));
            }
        }
    }
}

/// Any operation may be answered with a problem besides those it names: 400, 401, 403, 413, 421, 500, 503.
struct AnyProblem;

impl utoipa::Modify for AnyProblem {
    fn modify(&self, document: &mut utoipa::openapi::OpenApi) {
        let problem = || {
            let content = Content::new(Some(Ref::from_schema_name("Problem")));
            let described =
                ResponseBuilder::new().description("A problem; its detail says what would be right");
            described.content("application/problem+json", content).build()
        };
        for operation in operations(document) {
            operation.responses.responses.insert("default".into(), problem().into());
        }
    }
}

/// Handlers of two topics may have one name; operations may not.
struct Names;

impl utoipa::Modify for Names {
    fn modify(&self, document: &mut utoipa::openapi::OpenApi) {
        for operation in operations(document) {
            let topic = operation.tags.iter().flatten().next().expect("every handler has a tag");
            let name = operation.operation_id.take().expect("a handler's own name");
            operation.operation_id = Some(format!("{topic}_{name}"));
        }
    }
}

fn operations(document: &mut utoipa::openapi::OpenApi) -> impl Iterator<Item = &mut Operation> {
    document.paths.paths.values_mut().flat_map(|path| {
        [&mut path.get, &mut path.put, &mut path.post, &mut path.delete].into_iter().flatten()
    })
}

#[test]
fn the_file_is_what_the_handlers_say() {
    let path = concat!(env!("CARGO_MANIFEST_DIR"), "/src/controller/http/openapi.json");
    let made = Document::openapi().to_pretty_json().unwrap() + "\n";
    if std::env::var_os("INSTA_UPDATE").is_some_and(|how| how == "always") {
        std::fs::write(path, &made).unwrap();
    }
    assert!(std::fs::read_to_string(path).unwrap() == made, "INSTA_UPDATE=always writes {path} anew");
}

#[test]
fn every_operation_has_a_name_of_its_own() {
    let mut document = Document::openapi();
    let mut names: Vec<_> =
        operations(&mut document).map(|operation| operation.operation_id.clone()).collect();
    let all = names.len();
    names.sort();
    names.dedup();
    assert_eq!(names.len(), all, "{names:?}");
}
