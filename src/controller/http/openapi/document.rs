//! What `openapi.json` is made from: the handlers. Only the test that compares the two is built with it, since it would be
//! 0.4 MB of the binary.

use utoipa::OpenApi;
use utoipa::openapi::security::{HttpAuthScheme, HttpBuilder, SecurityScheme};
use utoipa::openapi::{Content, Ref, ResponseBuilder};

use super::super::{
    backtest, chaos, containers, drills, dto, events, hosts, notifications, placement, processes, report,
    series, settings, stream, system, tokens, top,
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
        chaos::begin, chaos::end, chaos::renew,
        events::events, events::incidents, drills::list, drills::show, drills::begin, drills::end, drills::report,
        notifications::list, notifications::test, stream::stream,
        tokens::list, tokens::create, tokens::revoke,
        system::healthz, system::readyz, system::metrics,
    ),
    components(schemas(crate::notify::Notice, dto::HostContainers, dto::DesiredNotice, stream::HostMetrics)),
    modifiers(&Token, &AnyProblem),
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
        for path in document.paths.paths.values_mut() {
            let operations = [&mut path.get, &mut path.put, &mut path.post, &mut path.delete];
            for operation in operations.into_iter().flatten() {
                operation.responses.responses.insert("default".into(), problem().into());
            }
        }
    }
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
