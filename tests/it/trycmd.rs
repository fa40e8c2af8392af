//! What the command line says of itself, word for word. `TRYCMD=overwrite` takes over what it says now.

use std::path::Path;

use crate::support::DOCKHEALTH;

#[test]
fn help_and_errors_read_as_recorded() {
    trycmd::TestCases::new()
        .register_bin("dockhealth", Path::new(DOCKHEALTH))
        .env("COLUMNS", "100")
        .env("DOCKHEALTH_CONFIG", "/dev/null")
        .case("tests/cmd/*.trycmd");
}
