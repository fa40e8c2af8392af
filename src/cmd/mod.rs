//! One file per subcommand: arguments, then validated config, then wiring.
